from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build
from tests.pythons import SUPPORTED, need

SOURCES = sorted(path for path in (build.ROOT / "agent").rglob("*") if path.suffix in build.SUFFIXES)
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
    source = {path.relative_to(build.ROOT).as_posix() for path in SOURCES}
    assert [entry.filename for entry in entries] == sorted({*source, "__main__.py"})
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(entry.create_system, entry.external_attr >> 16) for entry in entries} == {(3, 0o100644)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_DEFLATED}


def test_what_root_runs_is_what_git_has(archive: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "agent"], cwd=build.ROOT, stdout=subprocess.PIPE, check=True
    ).stdout.decode("utf-8")
    names = [name for name in listed.split("\0") if name]
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == sorted(["__main__.py", *names])
        for name in names:
            assert opened.read(name) == (build.ROOT / name).read_bytes(), name


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
    for name in ("__init__.py", "cli/main.py", "protocol/stun.py"):
        source = tree / "agent" / name
        source.write_bytes(source.read_bytes() + b"PATCHED = 1\n")
    (tree / "agent" / "new.css").write_text("")
    (tree / "agent" / "new.py").write_text("")
    (tree / "agent" / "core" / "errors.py").unlink()
    done = run_build(tree, "--check")
    assert done.returncode == 1
    assert [row.strip() for row in done.stderr.splitlines()[1:-1]] == [
        "missing: agent/new.css",
        "missing: agent/new.py",
        "not in the source: agent/core/errors.py",
        "differs: agent/__init__.py",
        "differs: agent/cli/main.py",
        "differs: agent/protocol/stun.py",
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


FILES = {"a.css": b"0", "b.py": b"1\n", "c.py": b"2\n"}
CSS, ONE, TWO = FILES.items()


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        ([CSS, ONE, TWO], []),
        ([ONE, CSS, TWO], ["the order or number of the entries"]),
        ([CSS, ONE], ["missing: c.py"]),
        ([CSS, ONE, TWO, ("d.py", b"")], ["not in the source: d.py"]),
        ([CSS, ("b.py", b"9\n"), TWO], ["differs: b.py"]),
    ],
)
def test_differences_are_named(files: list[tuple[str, bytes]], rows: list[str]) -> None:
    assert build.differences(build.pack(dict(files)), build.pack(FILES)) == rows


def test_differences_see_more_than_the_text() -> None:
    built = build.pack(FILES)
    assert build.differences(built[len(build.SHEBANG) :], built) == ["another first line"]
    dated = io.BytesIO(built)
    with zipfile.ZipFile(dated, "a") as opened:
        opened.getinfo("a.css").date_time = (2020, 1, 1, 0, 0, 0)
        opened.comment = b"has the directory written anew"
    assert build.differences(dated.getvalue(), built) == ["differs: a.css"]
    again = io.BytesIO(built)
    with zipfile.ZipFile(again, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr("c.py", b"2\n")
    assert build.differences(again.getvalue(), built) == ["differs: c.py"]
    with zipfile.ZipFile(io.BytesIO(built)) as opened:
        assert zipfile.ZIP_STORED not in {entry.compress_type for entry in opened.infolist()}


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
    (tree / "agent" / "cli" / "main.py").write_text(STUB)
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
