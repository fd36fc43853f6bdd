"""Makes a python.exe: a small program for 64-bit Windows that calls Py_Main of a python3X.dll.

    python3 launcher.py python.exe python313.dll

The wheels that carry Windows' CPython have its libraries and not its program.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

IMAGE_BASE = 0x140000000
FILE_ALIGNMENT = 0x200
HEADERS = 0x400
TEXT = 0x1000  # where Windows maps the code,
DATA = 0x2000  # and the import table
IMAGE_END = 0x3000
RUNTIME = "ucrtbase.dll"


def padded(data: bytes, alignment: int) -> bytes:
    return data + bytes(-len(data) % alignment)


def import_table(libraries: dict[str, list[str]]) -> tuple[bytes, dict[str, int]]:
    """The table, and for each function the address at which Windows will leave a pointer to it."""
    table = bytearray(20 * (len(libraries) + 1))
    pointers: dict[str, int] = {}

    def add(data: bytes) -> int:
        table.extend(bytes(-len(table) % 8))
        table.extend(data)
        return DATA + len(table) - len(data)

    for number, (library, functions) in enumerate(libraries.items()):
        names = [add(bytes(2) + name.encode() + b"\0") for name in functions]
        thunks = struct.pack(f"<{len(names) + 1}Q", *names, 0)
        lookup, addresses = add(thunks), add(thunks)
        struct.pack_into("<5I", table, 20 * number, lookup, 0, 0, add(library.encode() + b"\0"), addresses)
        pointers.update((name, addresses + 8 * i) for i, name in enumerate(functions))
    return bytes(table), pointers


def machine_code(pointers: dict[str, int]) -> bytes:
    """exit(Py_Main(argc, argv)), with the arguments as the C runtime splits them."""
    code = bytearray()

    def call(function: str) -> None:
        code.extend(b"\xff\x15" + struct.pack("<i", pointers[function] - (TEXT + len(code) + 6)))

    code += b"\x48\x83\xec\x28"  # sub rsp, 40
    code += b"\xb9\x01\x00\x00\x00"  # mov ecx, 1: wildcards stay as they are
    call("_configure_wide_argv")
    call("__p___argc")
    code += b"\x8b\x18"  # mov ebx, [rax]
    call("__p___wargv")
    code += b"\x48\x8b\x10"  # mov rdx, [rax]
    code += b"\x89\xd9"  # mov ecx, ebx
    call("Py_Main")
    code += b"\x89\xc1"  # mov ecx, eax
    call("exit")
    return bytes(code)


def section(name: bytes, size: int, address: int, stored: int, offset: int, flags: int) -> bytes:
    return struct.pack("<8s6I2HI", name, size, address, stored, offset, 0, 0, 0, 0, flags)


def program(library: str) -> bytes:
    runtime = ["_configure_wide_argv", "__p___argc", "__p___wargv", "exit"]
    table, pointers = import_table({RUNTIME: runtime, library: ["Py_Main"]})
    code = machine_code(pointers)
    text, data = padded(code, FILE_ALIGNMENT), padded(table, FILE_ALIGNMENT)

    dos = struct.pack("<2s58xI", b"MZ", 64)
    coff = struct.pack("<4s2H3I2H", b"PE", 0x8664, 2, 0, 0, 0, 240, 0x22)  # executable, large addresses
    optional = struct.pack("<H2B5I", 0x20B, 14, 0, len(text), len(data), 0, TEXT, TEXT)
    optional += struct.pack("<Q2I6H", IMAGE_BASE, 0x1000, FILE_ALIGNMENT, 6, 0, 0, 0, 6, 0)
    optional += struct.pack("<4I2H", 0, IMAGE_END, HEADERS, 0, 3, 0x8100)  # console; data not executable
    optional += struct.pack("<4Q2I", 2_000_000, 0x1000, 0x100000, 0x1000, 0, 16)  # stack and heap; 16 directories
    optional += struct.pack("<4I112x", 0, 0, DATA, 20 * 3)  # of which only the second, the imports, is there
    sections = section(b".text", len(code), TEXT, len(text), HEADERS, 0x60000020)
    sections += section(b".rdata", len(table), DATA, len(data), HEADERS + len(text), 0xC0000040)
    return padded(dos + coff + optional + sections, HEADERS) + text + data


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(program(sys.argv[2]))
