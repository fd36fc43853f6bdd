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
    names = [e.filename for e in entries]
    assert names == sorted(names)
    assert {"__main__.py", "agent/__init__.py", "agent/__main__.py"} <= set(names)
    assert all(name == "__main__.py" or (build.ROOT / name).is_file() for name in names)
    assert not [name for name in names if "__pycache__" in name]
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
    source = tree / "agent" / "__init__.py"
    source.write_bytes(source.read_bytes() + b"PATCHED = 1\n")
    (tree / "agent" / "new.py").write_text("")
    (tree / "agent" / "errors.py").unlink()
    done = run_build(tree, "--check")
    assert done.returncode == 1
    for row in ("differs: agent/__init__.py", "missing: agent/new.py", "not in the source: agent/errors.py"):
        assert row in done.stderr
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


def test_differences_see_more_than_the_text() -> None:
    files = {"a.py": b"1", "b.py": b"2"}
    built = build.pack(files)
    assert build.differences(built, built) == []
    assert build.differences(built[len(build.SHEBANG) :], built) == ["another first line"]
    assert build.differences(build.pack(dict(reversed(files.items()))), built) == ["the order or number of the entries"]
    dated = io.BytesIO(built)
    with zipfile.ZipFile(dated, "a") as opened:
        opened.getinfo("a.py").date_time = (2020, 1, 1, 0, 0, 0)
        opened.comment = b"has the directory written anew"
    assert build.differences(dated.getvalue(), built) == ["differs: a.py"]


def test_bytes_that_another_zlib_packed_are_only_mentioned(tree: Path) -> None:
    run_build(tree)
    text = (tree / "build.py").read_text(encoding="utf-8")
    (tree / "build.py").write_text(text.replace("LEVEL = 9", "LEVEL = 1"), encoding="utf-8")
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


def without_docstrings(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and len(node.body) > 1:
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
    return ast.dump(tree)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(build.ROOT).as_posix())
def test_the_archive_has_the_code_without_comments_and_docstrings(path: Path) -> None:
    source = path.read_bytes()
    bare = build.bare(source)
    assert ast.dump(ast.parse(bare)) == without_docstrings(source)
    assert not [one for one in tokenize.tokenize(io.BytesIO(bare).readline) if one.type == tokenize.COMMENT]


def test_a_hash_in_a_text_is_no_comment_and_a_lone_docstring_stays() -> None:
    head = b'"""Of it all."""\n\n# Why.\nclass One:\n    """One."""\n'
    source = head + b'\n\ndef two():\n    """Two."""\n    return "# 2"  # two\n'
    assert build.bare(source) == b'\nclass One:\n    """One."""\n\n\ndef two():\n    return "# 2"\n'
