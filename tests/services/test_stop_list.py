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
from agent.core.service import Service, ServiceKind
from agent.services import stop_list
from agent.services.model import StopList, to_json
from tests.lab import need

LIST = StopList((Service(ServiceKind.UNIT, "haproxy.service"),), 812, "4711", 600.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need()
    monkeypatch.setattr(stop_list, "FOLDER", str(tmp_path / "lib/pnmcheck"))
    return tmp_path / "lib/pnmcheck"


def test_a_list_that_is_written_and_read(folder: Path) -> None:
    with stop_list.guarding():
        assert not stop_list.is_left()
        stop_list.write_list(LIST)
        assert stop_list.read_list() == LIST
        assert [oct(path.stat().st_mode)[-3:] for path in (folder, folder / "stopped.json")] == ["700", "600"]
        stop_list.write_list(LIST)
        assert sorted(os.listdir(folder)) == ["lock", "stopped.json"]
    assert os.listdir(folder) == ["stopped.json"]
    trouble = stop_list.trouble()
    assert trouble
    assert "--restore" in trouble.hint
    with stop_list.guarding():
        stop_list.remove_list()
    assert not folder.exists()
    assert stop_list.trouble() is None


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    with stop_list.guarding():
        code = (
            "import sys; from agent.services import stop_list; from agent.core.errors import UserError\n"
            "stop_list.FOLDER = sys.argv[1]\n"
            "for look in (stop_list.refuse_second, lambda: stop_list.guarding().__enter__()):\n"
            "    try: look()\n"
            "    except UserError as error: print(error.code, error.why)\n"
            "print(stop_list.trouble().code)\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", code, stop_list.FOLDER], capture_output=True, text=True, check=True
        )
        said = f"already-stopped the process {os.getpid()} starts them again when it is over"
        assert told.stdout.splitlines() == [said, said, "already-stopped"]
    stop_list.refuse_second()


def test_the_programs_own_copy(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"PK")
    stop_list.keep_archive(str(tmp_path / "program"))
    stop_list.keep_archive(str(tmp_path / "program"))
    assert Path(stop_list.archive_path()).read_bytes() == b"PK"
    assert oct(Path(stop_list.archive_path()).stat().st_mode)[-3:] == "600"
    stop_list.tidy()
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
    with stop_list.guarding():
        make(folder / "stopped.json")
        with pytest.raises(UserError) as caught:
            stop_list.read_list()
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
        stop_list.make_folder()
    assert caught.value.code == "bad-list"


def test_where_nothing_can_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_list, "FOLDER", "/proc/pnmcheck")
    with pytest.raises(UserError) as caught:
        stop_list.make_folder()
    assert caught.value.code == "no-list"


def test_whether_a_program_still_runs() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        its = StopList((), process.pid, stop_list.began(process.pid), 1.0)
        assert stop_list.runs_still(its)
        assert not stop_list.runs_still(StopList((), process.pid, "1", 1.0))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not stop_list.runs_still(its)  # nobody has buried it, and still it has nothing left
    assert not stop_list.runs_still(its)
