#!/usr/bin/env python3
"""Makes dist/pnmcheck.pyz of agent/: from the same source the same bytes, on any machine.

One part is not ours to fix: replacements of zlib, such as zlib-ng, deflate the same text to other bytes.
So --check judges by what the archive holds, and only mentions bytes that differ while that is the same.
The code goes in as text, so that people can read what they are about to run as root; comments, docstrings, functions'
annotations and three of four blanks of indentation, a third of it, stay in the repository. Many small files, each
compressed alone, would take a quarter more than one text, and bzip2 makes that a fifth smaller than deflate does: what
starts the program is in files of its own, all other code in agent/rooms.txt, from which agent/unpack.py serves it.

    unzip -p dist/pnmcheck.pyz agent/rooms.txt | less
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tempfile
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).resolve().parent
SHEBANG = b"#!/usr/bin/env python3\n"
SUFFIXES = frozenset({".py", ".css", ".html", ".js", ".json", ".txt"})  # no editor's leftovers
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
UNIX = 3  # the field that makes readers take the mode for a Unix one
MODE = 0o100644  # a regular file
LEVEL = 9
SIZE_LIMIT = 128 * 1024  # small enough to get to any server: by scp, a mail, a console's upload

# The archive's own main: zipapp's would drop the exit status. Python 2.7 must be able to read it.
MAIN = b"""# The program's code is in agent/rooms.txt, as text.
import sys

from agent.__main__ import main

if sys.version_info >= (3, 8):  # main tells an older one off
    from agent.unpack import install

    install()
sys.exit(main())
"""
ROOMS = "agent/rooms.txt"
APART = frozenset({"__main__.py", "agent/__init__.py", "agent/__main__.py", "agent/unpack.py"})  # run before ROOMS is
HEADER = b"#-- "  # before each file's name in ROOMS; agent/unpack.py looks for it


class Refused(Exception):
    """The source cannot be packed; says why."""


class Entry(NamedTuple):
    """All that is said of a file in the archive; two archives with equal entries hold the same."""

    name: str
    place: str  # ROOMS, or the name itself for what is a file of its own in the archive
    date: tuple[int, ...]
    system: int
    attributes: int
    method: int
    data: bytes


def sources(root: Path) -> dict[str, bytes]:
    """What the archive must hold, sorted by name."""
    files = [p for p in (root / "agent").rglob("*") if p.suffix in SUFFIXES and p.is_file()]
    found = {p.relative_to(root).as_posix(): lean(p.read_bytes()) if p.suffix == ".py" else p.read_bytes()
             for p in files}  # fmt: skip
    found["__main__.py"] = MAIN
    if ROOMS in found:
        raise Refused(f"{ROOMS} is the archive's own, the source may have no file of that name")
    return dict(sorted(found.items()))


def lean(source: bytes) -> bytes:
    """The code alone, as short as it is still read."""
    return shallow(unannotated(bare(source)))


def bare(source: bytes) -> bytes:
    """Python code without its comments and docstrings; one that is all there is of a body has to stay."""
    text = source.decode("utf-8")
    lines = text.splitlines()
    gone: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and len(node.body) > 1:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                gone.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
            if not lines[row - 1]:
                gone.add(row)
    return "".join(f"{line}\n" for row, line in enumerate(lines, 1) if row not in gone).encode("utf-8")


def unannotated(source: bytes) -> bytes:
    """Python code without the annotations of its functions, which only tools read."""
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    cuts = []
    for node in ast.walk(ast.parse(source)):
        note: ast.expr | None = node.annotation if isinstance(node, ast.arg) else getattr(node, "returns", None)
        if note:
            start, end = begins[note.lineno - 1] + note.col_offset, note.end_lineno or note.lineno
            mark = b":" if isinstance(node, ast.arg) else b" ->"
            cuts.append((source.rindex(mark, 0, start), begins[end - 1] + (note.end_col_offset or 0)))
    for start, end in sorted(cuts, reverse=True):
        source = source[:start] + source[end:]
    return source


def shallow(source: bytes) -> bytes:
    """Python code with a fourth of its indentation; what is within a text stays as it is."""
    kept = {row for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Constant, ast.JoinedStr))
            for row in range(node.lineno + 1, (node.end_lineno or 0) + 1)}  # fmt: skip
    lines = (line if row in kept else b" " * ((len(line) - len(line.lstrip(b" ")) + 3) // 4) + line.lstrip(b" ")
             for row, line in enumerate(source.splitlines(keepends=True), 1))  # fmt: skip
    return b"".join(lines)


def gather(files: dict[str, bytes]) -> dict[str, bytes]:
    """The archive's own files: the code that is not needed to start is one text."""
    code = {name: data for name, data in files.items() if name.endswith(".py") and name not in APART}
    for name, data in code.items():
        # lean() leaves no comment, so this is a line within a text.
        number = next((n for n, line in enumerate(data.split(b"\n"), 1) if line.startswith(b"#")), None)
        if number:
            raise Refused(f"{name}: line {number} without comments begins with #, which only headers in {ROOMS} may")
        if data and not data.endswith(b"\n"):
            raise Refused(f"{name} does not end with an end of line")
    text = b"".join(HEADER + name.encode("utf-8") + b"\n" + data for name, data in code.items())
    return dict(sorted({**{name: data for name, data in files.items() if name not in code}, ROOMS: text}.items()))


def scatter(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of a text that gather() made; what is before the first header, which is nothing, is ROOMS itself."""
    name, data = ROOMS, b""
    for line in io.BytesIO(text):
        if line.startswith(HEADER):
            if name != ROOMS or data:
                yield name, data
            name, data = line[len(HEADER) : -1].decode("utf-8", "surrogateescape"), b""
        else:
            data += line
    yield name, data


def method(name: str) -> int:
    """How a file is compressed; Python can start only what deflate made."""
    return zipfile.ZIP_BZIP2 if name == ROOMS else zipfile.ZIP_DEFLATED


def pack(files: dict[str, bytes]) -> bytes:
    """The archive. Raises Refused where it could not be told apart again what is in it."""
    out = io.BytesIO()
    out.write(SHEBANG)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in gather(files).items():
            info = zipfile.ZipInfo(name, DATE)
            info.create_system = UNIX
            info.external_attr = MODE << 16
            archive.writestr(info, data, method(name), LEVEL)
    return out.getvalue()


def entries(archive: bytes) -> list[Entry]:
    """Every file, those in ROOMS too."""
    found: list[Entry] = []
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for i in opened.infolist():
            data = opened.read(i)
            files = scatter(data) if i.filename == ROOMS else [(i.filename, data)]
            found += [Entry(name, i.filename, i.date_time, i.create_system, i.external_attr, i.compress_type, part)
                      for name, part in files]  # fmt: skip
    return found


def differences(committed: bytes, built: bytes) -> list[str]:
    """How the committed archive's contents differ from the built one's; empty where they do not."""
    try:
        have = entries(committed)
    except Exception as error:  # noqa: BLE001 - zipfile has half a dozen for what is damaged
        return [f"not a readable archive ({error})"]
    want = entries(built)
    old, new = {e.name: e for e in have}, {e.name: e for e in want}
    rows = [] if committed.startswith(SHEBANG) else ["another first line"]
    rows += [f"missing: {name}" for name in new if name not in old]
    rows += [f"not in the source: {name}" for name in old if name not in new]
    rows += [f"differs: {name}" for name in new if name in old and old[name] != new[name]]
    if not rows and have != want:
        rows.append("the order or number of the entries")
    return rows


def build(root: Path = ROOT) -> bytes:
    return pack(sources(root))


def target(root: Path = ROOT) -> Path:
    return root / "dist" / "pnmcheck.pyz"


def fail(message: str) -> int:
    print(f"build.py: {message}", file=sys.stderr)
    return 1


def check(path: Path, built: bytes) -> int:
    if not path.is_file():
        return fail(f"{path} is not there; python3 build.py makes it")
    committed = path.read_bytes()
    rows = differences(committed, built)
    if rows:
        told = "\n  ".join(rows)
        return fail(f"{path} is not what the source builds:\n  {told}\npython3 build.py makes it anew")
    if committed != built:
        print(f"{path} holds what the source builds; a zlib other than {zlib.ZLIB_RUNTIME_VERSION} packed it")
    return 0


def write(path: Path, built: bytes) -> int:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(built)
    path.chmod(0o755)
    print(f"{path}: {len(built)} bytes of at most {SIZE_LIMIT}")
    return 0


def write_pex(path: Path, files: dict[str, bytes]) -> int:
    """The same files as a PEX, each a file there, behind its own main. Started elsewhere, lest pex import this."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            if name == "__main__.py":
                continue
            file = Path(folder, "source", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        command = [sys.executable, "-m", "pex", "--sources-directory", "source", "--entry-point", "agent.__main__:main"]
        command += ["--python-shebang", "/usr/bin/env python3", "--output-file", str(path)]
        if subprocess.run(command, cwd=folder, check=False).returncode:
            return fail("pex failed; python3 -m pip install pex installs it")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes dist/pnmcheck.pyz.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only check that it is what the source builds")
    what.add_argument("--pex", action="store_true", help="make dist/pnmcheck.pex instead; needs pex")
    options = parser.parse_args()
    try:
        files = sources(ROOT)
        built = pack(files)
    except Refused as error:
        return fail(str(error))
    if len(built) > SIZE_LIMIT:
        return fail(f"the archive has {len(built)} bytes, more than {SIZE_LIMIT}")
    if options.check:
        return check(target(), built)
    if options.pex:
        return write_pex(target().with_suffix(".pex"), files)
    return write(target(), built)


if __name__ == "__main__":
    sys.exit(main())
