from __future__ import annotations

import ast
import io
import os
import random
import shutil
import subprocess
import sys
import tokenize
import zipfile
from pathlib import Path

import pytest

import build
from tests.pythons import SUPPORTED, need

STATUS = 7  # no status of the program's own
STUB = f"""
def main(argv=None):
    return {STATUS}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source, with leftovers beside it that do not belong into the archive."""
    root = tmp_path / "tree"
    shutil.copytree(build.ROOT / "agent", root / "agent")
    shutil.copy(build.ROOT / "build.py", root)
    for leftover in ("__pycache__/cli.cpython-38.pyc", "cli.py~", ".cli.py.swp", "cli.py.orig"):
        path = root / "agent" / leftover
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not ours")
    return root


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PEX_ROOT": str(folder / "pex")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def run_build(tree: Path, *arguments: str, python: str | Path = sys.executable) -> subprocess.CompletedProcess[str]:
    return run([python, "build.py", *arguments], tree)


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_python_builds_the_same_bytes(tree: Path, version: str) -> None:
    done = run_build(tree, python=need(version))
    assert done.returncode == 0, done.stderr
    assert build.target(tree).read_bytes() == build.build(tree)


def test_the_archive_is_no_larger_than_allowed(archive: Path) -> None:
    assert archive.stat().st_size <= build.SIZE_LIMIT
    assert os.access(archive, os.X_OK)


def test_entries_are_sorted_dated_alike_and_only_source(tree: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(build.build(tree))) as opened:
        entries = opened.infolist()
        rooms = opened.read("agent/rooms.txt").decode("utf-8").splitlines()
    apart = ["__main__.py", "agent/__init__.py", "agent/__main__.py"]
    assert [e.filename for e in entries] == [*apart, "agent/rooms.txt", "agent/unpack.py"]
    inside = [line[len("#-- ") :] for line in rooms if line.startswith("#")]
    source = {path.relative_to(build.ROOT).as_posix() for path in SOURCES}
    assert inside == sorted(source - {*apart, "agent/unpack.py"})
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(e.create_system, e.external_attr >> 16) for e in entries} == {(3, 0o100644)}


def test_neither_clock_nor_modes_nor_order_of_files_matter(tree: Path) -> None:
    first = build.build(tree)
    for path in (tree / "agent").rglob("*.py"):
        text = path.read_bytes()
        path.unlink()
        path.write_bytes(text)
        path.chmod(0o600)
        os.utime(path, (1, 1e9))
    assert build.build(tree) == first


def test_check_accepts_what_was_built(tree: Path) -> None:
    assert run_build(tree).returncode == 0
    done = run_build(tree, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_what_differs(tree: Path) -> None:
    run_build(tree)
    for name in ("__init__.py", "cli.py", "wire/stun.py"):
        source = tree / "agent" / name
        source.write_bytes(source.read_bytes() + b"PATCHED = 1\n")
    (tree / "agent" / "new.css").write_text("")
    (tree / "agent" / "new.py").write_text("")
    (tree / "agent" / "errors.py").unlink()
    done = run_build(tree, "--check")
    assert done.returncode == 1
    assert [row.strip() for row in done.stderr.splitlines()[1:-1]] == [
        "missing: agent/new.css",
        "missing: agent/new.py",
        "not in the source: agent/errors.py",
        "differs: agent/__init__.py",
        "differs: agent/cli.py",
        "differs: agent/wire/stun.py",
    ]
    assert "python3 build.py" in done.stderr


@pytest.mark.parametrize("content", [None, b"", b"PK\5\6", b"#!/usr/bin/env python3\n"])
def test_check_refuses_what_is_no_archive(tree: Path, content: bytes | None) -> None:
    if content is not None:
        build.target(tree).parent.mkdir()
        build.target(tree).write_bytes(content)
    done = run_build(tree, "--check")
    assert done.returncode == 1
    assert "pnmcheck.pyz" in done.stderr
    assert "Traceback" not in done.stderr


def zipped(*files: tuple[str, bytes]) -> bytes:
    """An archive of these files as they are, in this order."""
    out = io.BytesIO()
    out.write(build.SHEBANG)
    with zipfile.ZipFile(out, "w") as opened:
        for name, data in files:
            info = zipfile.ZipInfo(name, build.DATE)
            info.create_system, info.external_attr = build.UNIX, build.MODE << 16
            opened.writestr(info, data, build.method(name))
    return out.getvalue()


CSS, ONE, TWO = ("a.css", b"0"), b"#-- b.py\n1\n", b"#-- c.py\n2\n"
FILES = {"a.css": b"0", "b.py": b"1\n", "c.py": b"2\n"}
ORDER = "the order or number of the entries"


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        ([(build.ROOMS, ONE + TWO), CSS], [ORDER]),
        ([CSS, (build.ROOMS, ONE + TWO)], []),
        ([CSS, (build.ROOMS, TWO + ONE)], [ORDER]),
        ([CSS, (build.ROOMS, ONE + ONE + TWO)], [ORDER]),
        ([CSS, (build.ROOMS, ONE), ("c.py", b"2\n")], ["differs: c.py"]),
        ([CSS, ("b.py", b"1\n"), ("c.py", b"2\n")], ["differs: b.py", "differs: c.py"]),
        ([CSS, (build.ROOMS, b"0\n" + ONE + TWO)], ["not in the source: agent/rooms.txt"]),
        ([CSS, (build.ROOMS, ONE.replace(b"1", b"9") + TWO)], ["differs: b.py"]),
        ([CSS, (build.ROOMS, (ONE + TWO)[:-1])], ["differs: c.py"]),
        ([CSS], ["missing: b.py", "missing: c.py"]),
    ],
)
def test_differences_see_where_a_file_is_too(files: list[tuple[str, bytes]], rows: list[str]) -> None:
    assert build.differences(zipped(*files), build.pack(FILES)) == rows


def test_differences_see_more_than_the_text() -> None:
    built = build.pack(FILES)
    assert build.differences(built, built) == []
    assert build.differences(built[len(build.SHEBANG) :], built) == ["another first line"]
    assert build.differences(zipped((build.ROOMS, b"#-- b.py")), build.pack({"b.py": b""})) != []
    dated = io.BytesIO(built)
    with zipfile.ZipFile(dated, "a") as opened:
        opened.getinfo("a.css").date_time = (2020, 1, 1, 0, 0, 0)
        opened.comment = b"has the directory written anew"
    assert build.differences(dated.getvalue(), built) == ["differs: a.css"]


def test_a_damaged_archive_is_told_and_never_a_traceback() -> None:
    built, chance = build.pack(FILES), random.Random(0)
    for _ in range(2000):
        damaged = bytearray(built)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        build.differences(bytes(damaged), built)
    for length in range(len(built)):
        assert build.differences(built[:length], built)
    rows = build.differences(built.replace(b"PK\1\2", b"PK\1\3"), built)
    assert [row[: len("not a readable archive")] for row in rows] == ["not a readable archive"]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b'"""Doc."""\n# Why.\nTEXT = """\n#-- agent/errors.py\n"""\n', 2),
        (b"TEXT = '''one\ntwo\n# three'''\n", 3),
        (b'TEXT = "one\\\n#two"\n', 2),
    ],
)
def test_a_line_that_could_be_a_header_is_refused(tree: Path, source: bytes, line: int) -> None:
    (tree / "agent" / "show" / "new.py").write_bytes(source)
    done = run_build(tree)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"agent/show/new.py: line {line} " in done.stderr
    assert "Traceback" not in done.stderr
    assert not build.target(tree).exists()


def test_what_could_not_be_taken_apart_again_is_refused(tree: Path) -> None:
    (tree / "agent" / "rooms.txt").write_text("")
    done = run_build(tree)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "agent/rooms.txt" in done.stderr
    with pytest.raises(build.Refused, match=r"b\.py"):
        build.pack({"b.py": b"1"})


def test_bytes_that_another_zlib_packed_are_only_mentioned(tree: Path) -> None:
    run_build(tree)
    text = (tree / "build.py").read_text(encoding="utf-8")
    (tree / "build.py").write_text(text.replace("LEVEL = 9", "LEVEL = 6"), encoding="utf-8")
    done = run_build(tree, "--check")
    assert done.returncode == 0
    assert "zlib" in done.stdout


def test_too_large_is_not_built(tree: Path) -> None:
    noise = random.Random(0).getrandbits(16 * build.SIZE_LIMIT)
    (tree / "agent" / "noise.txt").write_text(f"{noise:x}")
    done = run_build(tree)
    assert done.returncode == 1
    assert str(build.SIZE_LIMIT) in done.stderr
    assert not build.target(tree).exists()


def test_every_way_in_passes_the_status_on(tree: Path) -> None:
    (tree / "agent" / "cli.py").write_text(STUB)
    assert run_build(tree).returncode == 0
    pex = run_build(tree, "--pex")
    assert pex.returncode == 0, pex.stderr
    ways: list[list[str | Path]] = [
        [sys.executable, "-m", "agent"],
        [sys.executable, "dist/pnmcheck.pyz"],
        [sys.executable, "dist/pnmcheck.pex"],
        [tree / "dist" / "pnmcheck.pyz"],
        [tree / "dist" / "pnmcheck.pex"],
    ]
    for way in ways:
        done = run(way, tree)
        assert (done.returncode, done.stdout, done.stderr) == (STATUS, "", ""), way


SOURCES = sorted((build.ROOT / "agent").rglob("*.py"))


def meaning(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and len(node.body) > 1:
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
    return ast.dump(tree)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(build.ROOT).as_posix())
def test_the_archive_has_the_code_without_what_only_people_and_tools_read(path: Path) -> None:
    source = path.read_bytes()
    lean = build.lean(source)
    assert ast.dump(ast.parse(lean)) == meaning(source)
    assert not [one for one in tokenize.tokenize(io.BytesIO(lean).readline) if one.type == tokenize.COMMENT]
    assert not [node for node in ast.walk(ast.parse(lean)) if getattr(node, "returns", None)]
    assert len(lean) <= len(source)


def test_a_python_without_bzip2_says_so(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "bz2.py").write_text("raise ImportError")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, archive, "--version"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "pnmcheck: this Python cannot read bzip2: start it with the system's own python3.\n"


def test_a_text_keeps_its_blanks_and_colons() -> None:
    source = b"""
def one(first: int, *rest: dict[str, int], last: str = ": -> x") -> dict[str, int]:
    if last:
        return {
            "a": '''
    b: c -> d
        ''',
        }
"""
    assert (
        build.lean(source)
        == b"""
def one(first, *rest, last = ": -> x"):
 if last:
  return {
   "a": '''
    b: c -> d
        ''',
  }
"""
    )


def test_a_hash_in_a_text_is_no_comment_and_a_lone_docstring_stays() -> None:
    head = b'"""Of it all."""\n\n# Why.\nclass One:\n    """One."""\n'
    source = head + b'\n\ndef two():\n    """Two."""\n    return "# 2"  # two\n'
    assert build.bare(source) == b'\nclass One:\n    """One."""\n\n\ndef two():\n    return "# 2"\n'
