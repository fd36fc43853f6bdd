"""Puts a filter of the kernel's on a socket: SO_ATTACH_FILTER (socket(7)), which Linux has, and not only for root."""

from __future__ import annotations

import socket
import struct

from ..packet import bpf

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the socket module has no name for it


def attach(opened: socket.socket, program: bytes) -> None:
    """Let only what this program accepts come to the socket, instead of an earlier one; OSError, ImportError."""
    import ctypes  # some Pythons are built without

    steps = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they stand; the kernel copies them.
    head = struct.pack("@HP", len(program) // bpf.INSTRUCTION_BYTES, ctypes.addressof(steps))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
