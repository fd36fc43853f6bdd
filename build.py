#!/usr/bin/env python3
"""Makes dist/pnmcheck.pyz of agent/: from the same source the same bytes, on any machine.

One part is not ours to fix: replacements of zlib, such as zlib-ng, deflate the same text to other bytes.
So --check judges by what the archive holds, and only mentions bytes that differ while that is the same.
The code goes in as it is, so that people can read what they are about to run as root; comments and docstrings, a
quarter of it, stay in the repository.
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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
SHEBANG = b"#!/usr/bin/env python3\n"
SUFFIXES = frozenset({".py", ".css", ".html", ".js", ".json", ".txt"})  # no editor's leftovers
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
UNIX = 3  # the field that makes readers take the mode for a Unix one
MODE = 0o100644  # a regular file
LEVEL = 9
SIZE_LIMIT = 128 * 1024  # small enough to get to any server: by scp, a mail, a console's upload

# The archive's own main: zipapp's would drop the exit status. Python 2.7 must be able to read it.
MAIN = b"""import sys

from agent.__main__ import main

sys.exit(main())
"""


class Entry(NamedTuple):
    """All that is said of a file in the archive; two archives with equal entries hold the same."""

    name: str
    date: tuple[int, ...]
    system: int
    attributes: int
    method: int
    data: bytes


def sources(root: Path) -> dict[str, bytes]:
    """What the archive must hold, sorted by name."""
    files = [p for p in (root / "agent").rglob("*") if p.suffix in SUFFIXES and p.is_file()]
    found = {p.relative_to(root).as_posix(): bare(p.read_bytes()) if p.suffix == ".py" else p.read_bytes()
             for p in files}  # fmt: skip
    found["__main__.py"] = MAIN
    return dict(sorted(found.items()))


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


def pack(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    out.write(SHEBANG)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, DATE)
            info.create_system = UNIX
            info.external_attr = MODE << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, LEVEL)
    return out.getvalue()


def entries(archive: bytes) -> list[Entry]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [
            Entry(i.filename, i.date_time, i.create_system, i.external_attr, i.compress_type, opened.read(i))
            for i in opened.infolist()
        ]


def differences(committed: bytes, built: bytes) -> list[str]:
    """How the committed archive's contents differ from the built one's; empty where they do not."""
    try:
        have = entries(committed)
    except (zipfile.BadZipFile, zlib.error) as error:
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
    """The same files as a PEX, whose own main runs ours. Started elsewhere, lest pex import our build.py."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            file = Path(folder, "source", name) if name != "__main__.py" else Path(folder, "main.py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        command = [sys.executable, "-m", "pex", "--sources-directory", "source", "--executable", "main.py"]
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
    files = sources(ROOT)
    built = pack(files)
    if len(built) > SIZE_LIMIT:
        return fail(f"the archive has {len(built)} bytes, more than {SIZE_LIMIT}")
    if options.check:
        return check(target(), built)
    if options.pex:
        return write_pex(target().with_suffix(".pex"), files)
    return write(target(), built)


if __name__ == "__main__":
    sys.exit(main())
