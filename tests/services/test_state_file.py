"""The list of stopped services on disk: whole or not there, root's own, and one guardian's at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from agent.core.errors import UserError
from agent.core.events import Service, ServiceKind
from agent.services import state_file
from agent.services.model import StopList, to_json
from tests.lab import need

LIST = StopList((Service(ServiceKind.UNIT, "haproxy.service"),), 812, "4711", 600.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need()
    monkeypatch.setattr(state_file, "FOLDER", str(tmp_path / "lib/pnmcheck"))
    return tmp_path / "lib/pnmcheck"


def test_a_list_that_is_written_and_read(folder: Path) -> None:
    with state_file.locked():
        assert not state_file.exists()
        state_file.write_list(LIST)
        assert state_file.read_list() == LIST
        assert [oct(path.stat().st_mode)[-3:] for path in (folder, folder / "stopped.json")] == ["700", "600"]
        state_file.write_list(LIST)
        assert sorted(os.listdir(folder)) == ["lock", "stopped.json"]
    assert os.listdir(folder) == ["stopped.json"]
    error = state_file.find_error()
    assert error
    assert "--restore" in error.hint
    with state_file.locked():
        state_file.remove_list()
    assert not folder.exists()
    assert state_file.find_error() is None


def test_a_second_one_is_told_who_has_it() -> None:
    with state_file.locked():
        program = Path(__file__).parent / "programs/lock_twice.py"
        second = subprocess.run(
            [sys.executable, program, state_file.FOLDER], capture_output=True, text=True, check=True
        )
        said = f"already-stopped the process {os.getpid()} starts them again when it ends"
        assert second.stdout.splitlines() == [said, said, "already-stopped"]
    state_file.check_unlocked()


def test_the_programs_own_copy(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"PK")
    state_file.keep_archive(str(tmp_path / "program"))
    state_file.keep_archive(str(tmp_path / "program"))
    assert Path(state_file.path_of(state_file.ARCHIVE)).read_bytes() == b"PK"
    assert oct(Path(state_file.path_of(state_file.ARCHIVE)).stat().st_mode)[-3:] == "600"
    state_file.remove_all_but_list()
    assert not folder.exists()


def linked(path: Path) -> None:
    path.with_name("other").write_text(json.dumps(to_json(LIST)), encoding="ascii")
    path.symlink_to("other")


def foreign(path: Path) -> None:
    path.write_text(json.dumps(to_json(LIST)), encoding="ascii")
    os.chown(path, 65534, 65534)


def shared(path: Path) -> None:
    path.write_text(json.dumps(to_json(LIST)), encoding="ascii")
    path.chmod(0o666)


@pytest.mark.parametrize(
    "make",
    [
        linked, foreign, shared, os.mkfifo, os.mkdir,
        lambda path: path.write_bytes(json.dumps(to_json(LIST)).encode()[:-1]),
        lambda path: path.write_bytes(b" " * 10_000_000 + json.dumps(to_json(LIST)).encode()),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(json.dumps(to_json(LIST)).replace("haproxy", "-x").encode()),
    ],
)  # fmt: skip
def test_a_list_that_is_not_ours(folder: Path, make: Callable[[Path], object]) -> None:
    with state_file.locked():
        make(folder / "stopped.json")
        with pytest.raises(UserError) as caught:
            state_file.read_list()
        assert caught.value.code == "bad-list"
        assert "stopped.json" in caught.value.hint


@pytest.mark.parametrize("kind", ["file", "link", "foreign", "shared"])
def test_a_folder_that_is_not_ours(folder: Path, kind: str) -> None:
    folder.parent.mkdir()
    if kind == "file":
        folder.touch()
    elif kind == "link":
        folder.symlink_to(folder.parent)
    else:
        folder.mkdir()
        folder.chmod(0o777 if kind == "shared" else 0o700)
        os.chown(folder, 65534 if kind == "foreign" else 0, 0)
    with pytest.raises(UserError) as caught:
        state_file.make_folder()
    assert caught.value.code == "bad-list"


def test_where_nothing_can_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "FOLDER", "/proc/pnmcheck")
    with pytest.raises(UserError) as caught:
        state_file.make_folder()
    assert caught.value.code == "no-list"
