"""The list of stopped services on disk: whole or not there, root's own, and one guardian's at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from agent.errors import UserError
from agent.host import stopped
from agent.model.service import Kind, Service, StopList, to_json
from tests.lab import need

LIST = StopList((Service(Kind.UNIT, "haproxy.service"),), 812, "4711", 600.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need()
    monkeypatch.setattr(stopped, "FOLDER", str(tmp_path / "lib/pnmcheck"))
    return tmp_path / "lib/pnmcheck"


def test_a_list_that_is_written_and_read(folder: Path) -> None:
    with stopped.guarding():
        assert not stopped.is_left()
        stopped.write_list(LIST)
        assert stopped.read_list() == LIST
        assert [oct(path.stat().st_mode)[-3:] for path in (folder, folder / "stopped.json")] == ["700", "600"]
        stopped.write_list(LIST)
        assert sorted(os.listdir(folder)) == ["lock", "stopped.json"]
    assert os.listdir(folder) == ["stopped.json"]
    trouble = stopped.trouble()
    assert trouble
    assert "--restore" in trouble.hint
    with stopped.guarding():
        stopped.remove_list()
    assert not folder.exists()
    assert stopped.trouble() is None


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    with stopped.guarding():
        code = (
            "import sys; from agent.host import stopped; from agent.errors import UserError\n"
            "stopped.FOLDER = sys.argv[1]\n"
            "for look in (stopped.refuse_second, lambda: stopped.guarding().__enter__()):\n"
            "    try: look()\n"
            "    except UserError as error: print(error.code, error.why)\n"
            "print(stopped.trouble().code)\n"
        )
        told = subprocess.run([sys.executable, "-c", code, stopped.FOLDER], capture_output=True, text=True, check=True)
        said = f"already-stopped the process {os.getpid()} starts them again when it is over"
        assert told.stdout.splitlines() == [said, said, "already-stopped"]
    stopped.refuse_second()


def test_the_programs_own_copy(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"PK")
    stopped.keep_archive(str(tmp_path / "program"))
    stopped.keep_archive(str(tmp_path / "program"))
    assert Path(stopped.archive_path()).read_bytes() == b"PK"
    assert oct(Path(stopped.archive_path()).stat().st_mode)[-3:] == "600"
    stopped.tidy()
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
    with stopped.guarding():
        make(folder / "stopped.json")
        with pytest.raises(UserError) as caught:
            stopped.read_list()
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
        stopped.make_folder()
    assert caught.value.code == "bad-list"


def test_where_nothing_can_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopped, "FOLDER", "/proc/pnmcheck")
    with pytest.raises(UserError) as caught:
        stopped.make_folder()
    assert caught.value.code == "no-list"


def test_whether_a_program_still_runs() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        its = StopList((), process.pid, stopped.began(process.pid), 1.0)
        assert stopped.runs_still(its)
        assert not stopped.runs_still(StopList((), process.pid, "1", 1.0))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not stopped.runs_still(its)  # nobody has buried it, and still it has nothing left
    assert not stopped.runs_still(its)
