#!/usr/bin/env python3
"""Make dist/pnmcheck.pyz from agent/: the source as git has it, as one file that every Python 3.8 and newer can run.

The archive is a plain zip: each file an entry of its own, comments and docstrings in, so that people can read what they
are about to run as root (`unzip -p dist/pnmcheck.pyz agent/cli/main.py`). Entries are sorted and dated alike, so the
same source makes the same bytes from every Python. Replacements of zlib, such as zlib-ng, deflate the same text to
other bytes; so --check compares what the archives hold, and only mentions bytes that differ while that is the same.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
SHEBANG = b"#!/usr/bin/env python3\n"
SUFFIXES = frozenset({".py", ".css", ".html", ".js", ".json", ".md", ".txt"})  # leaves out what editors leave behind
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
UNIX = 3  # the field that makes readers take the attributes for a Unix mode
MODE = 0o100644  # a regular file
LEVEL = 9
SIZE_LIMIT = 512 * 1024  # small enough for scp, a mail, or the upload of a provider's console

# The archive's own main: the one that zipapp generates would drop the exit status. Python 2.7 must be able to read it.
MAIN = b"""import sys

from agent.__main__ import main

sys.exit(main())
"""


class Entry(NamedTuple):
    """All that the archive says of one file; two archives with equal entries hold the same."""

    name: str
    date: tuple[int, ...]
    system: int
    attributes: int
    method: int
    data: bytes


def sources(root: Path) -> dict[str, bytes]:
    """Return what the archive must hold, sorted by name."""
    paths = (path for path in (root / "agent").rglob("*") if path.suffix in SUFFIXES and path.is_file())
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return dict(sorted({**files, "__main__.py": MAIN}.items()))


def pack(files: dict[str, bytes]) -> bytes:
    """Return the archive of these files."""
    out = io.BytesIO()
    out.write(SHEBANG)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, DATE)
            info.create_system = UNIX
            info.external_attr = MODE << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, LEVEL)
    return out.getvalue()


def build(root: Path = ROOT) -> bytes:
    """Return the archive of the source at `root`."""
    return pack(sources(root))


def entries(archive: bytes) -> list[Entry]:
    """Return the archive's entries in their order. Raises whatever zipfile raises for a damaged one."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [Entry(i.filename, i.date_time, i.create_system, i.external_attr, i.compress_type, opened.read(i))
                for i in opened.infolist()]  # fmt: skip


def differences(committed: bytes, built: bytes) -> list[str]:
    """Return how the committed archive's contents differ from the built one's, a line each."""
    try:
        have = entries(committed)
    except Exception as error:  # noqa: BLE001 - zipfile raises half a dozen types for a damaged archive
        return [f"not a readable archive ({error})"]
    want = entries(built)
    old, new = {entry.name: entry for entry in have}, {entry.name: entry for entry in want}
    rows = [] if committed.startswith(SHEBANG) else ["another first line"]
    rows += [f"missing: {name}" for name in new if name not in old]
    rows += [f"not in the source: {name}" for name in old if name not in new]
    rows += [f"differs: {name}" for name in new if name in old and old[name] != new[name]]
    if not rows and have != want:
        rows.append("the order or number of the entries")
    return rows


def target(root: Path = ROOT) -> Path:
    """Return where the archive of the source at `root` belongs."""
    return root / "dist" / "pnmcheck.pyz"


def fail(message: str) -> int:
    """Print an error and return the exit status for it."""
    print(f"build.py: {message}", file=sys.stderr)
    return 1


def check(path: Path, built: bytes) -> int:
    """Compare the archive at `path` with what the source builds."""
    if not path.is_file():
        return fail(f"{path} does not exist; python3 build.py makes it")
    committed = path.read_bytes()
    rows = differences(committed, built)
    if rows:
        listed = "\n  ".join(rows)
        return fail(f"{path} is not what the source builds:\n  {listed}\npython3 build.py makes it anew")
    if committed != built:
        print(f"{path} holds what the source builds; a zlib other than {zlib.ZLIB_RUNTIME_VERSION} packed it")
    return 0


def write(path: Path, built: bytes) -> int:
    """Write the archive, executable."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(built)
    path.chmod(0o755)
    print(f"{path}: {len(built)} bytes of at most {SIZE_LIMIT}")
    return 0


def write_pex(path: Path, archive: bytes) -> int:
    """Write the same files as a PEX. pex runs in an empty folder, so that it does not import this file's neighbours."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(Path(folder, "source"), [name for name in opened.namelist() if name != "__main__.py"])
        command = [sys.executable, "-m", "pex", "--sources-directory", "source", "--entry-point", "agent.__main__:main"]
        command += ["--python-shebang", "/usr/bin/env python3", "--output-file", str(path)]
        if subprocess.run(command, cwd=folder, check=False).returncode:
            return fail("pex failed; python3 -m pip install pex installs it")
    return 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make dist/pnmcheck.pyz from agent/.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only check that it is what the source builds")
    what.add_argument("--pex", action="store_true", help="make dist/pnmcheck.pex instead; needs pex")
    options = parser.parse_args()
    built = build()
    if len(built) > SIZE_LIMIT:
        return fail(f"the archive has {len(built)} bytes, more than {SIZE_LIMIT}")
    if options.check:
        return check(target(), built)
    if options.pex:
        return write_pex(target().with_suffix(".pex"), built)
    return write(target(), built)


if __name__ == "__main__":
    sys.exit(main())
