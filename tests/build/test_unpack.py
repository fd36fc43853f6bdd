"""The modules as the archive serves them, against those of the source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

import build
from agent import unpack
from tests.pythons import SUPPORTED, need

VERSIONS = pytest.mark.parametrize("version", [SUPPORTED[0], SUPPORTED[-1]])
# What the archive's own main does before it calls the program's.
OPEN = """
import importlib, json, os, pkgutil, sys, threading, traceback
sys.path.insert(0, sys.argv[1])
from agent.unpack import install
install()
"""


def module_of(name: str) -> str:
    module = name[: -len(".py")].replace("/", ".")
    return module[: -len(".__init__")] if module.endswith(".__init__") else module


FILES = {module_of(name): name for name in sorted(build.sources(build.ROOT)) if name.startswith("agent/")}


def run(version: str, folder: Path, code: str, *arguments: str | Path) -> str:
    """What the code says after OPEN, whose archive is the first of the arguments, in a folder of its own."""
    command: list[str | Path] = [need(version), "-W", "error", "-X", "dev", "-c", OPEN + code, *arguments]
    # Bytecode is asked for, into that folder: what would be written has to be found.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["PYTHONPYCACHEPREFIX"] = str(folder / "cache")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@VERSIONS
def test_every_module_is_served_with_the_code_of_the_source(archive: Path, tmp_path: Path, version: str) -> None:
    table, beside = tmp_path / "table", sorted(archive.parent.iterdir())
    bare = build.sources(build.ROOT)
    table.write_text(json.dumps({module: [name, bare[name].decode("utf-8")] for module, name in FILES.items()}))
    code = """
with open(sys.argv[2]) as table:
    files = json.load(table)
for name, (file, source) in files.items():
    module = importlib.import_module(name)
    path = os.path.join(sys.argv[1], *file.split("/"))
    package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
    assert (module.__name__, module.__file__, module.__spec__.origin) == (name, path, path)
    assert (module.__package__, module.__spec__.parent) == (package, package)
    assert getattr(module, "__path__", None) == ([os.path.dirname(path)] if package == name else None)
    assert module.__loader__.get_source(name).rstrip() == source.rstrip()
    assert module.__loader__.get_code(name) == compile(source, path, "exec", dont_inherit=True)
    print(name)
"""
    assert run(version, tmp_path, code, archive, table).split() == list(FILES)
    assert not [path for path in tmp_path.rglob("*") if "agent" in path.parts]
    assert not list(tmp_path.rglob("stun.*"))
    assert sorted(archive.parent.iterdir()) == beside


@VERSIONS
def test_a_missing_module_is_missed_in_the_usual_words(archive: Path, tmp_path: Path, version: str) -> None:
    code = """
for name in ("agent.nowhere", "agent.judge.nowhere", "agent.rooms", "agent.errors.nowhere"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name, error)
"""
    plain = [f"{name} No module named '{name}'" for name in ("agent.nowhere", "agent.judge.nowhere", "agent.rooms")]
    inside = "agent.errors.nowhere No module named 'agent.errors.nowhere'; 'agent.errors' is not a package"
    assert run(version, tmp_path, code, archive).splitlines() == [*plain, inside]


@VERSIONS
def test_threads_import_at_the_same_time(archive: Path, tmp_path: Path, version: str) -> None:
    # In different orders, so that they meet in the middle of each other's imports.
    code = """
sys.setswitchinterval(1e-5)
names, faults, gate = sys.argv[2].split(","), [], threading.Barrier(8)

def work(start):
    gate.wait()
    try:
        for name in names[start:] + names[:start]:
            assert importlib.import_module(name) is sys.modules[name]
    except BaseException:
        faults.append(traceback.format_exc())

threads = [threading.Thread(target=work, args=(len(names) * number // 8,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(faults, sorted(set(names) - set(sys.modules)))
"""
    assert run(version, tmp_path, code, archive, ",".join(FILES)) == "[] []\n"


@VERSIONS
def test_a_traceback_shows_the_lines(archive: Path, tmp_path: Path, version: str) -> None:
    # None reaches a user; it is for whoever looks for a mistake.
    code = """
from agent.model.ports import parse_ports
try:
    parse_ports(None)
except Exception:
    print(traceback.format_exc())
"""
    told = run(version, tmp_path, code, archive)
    assert f'File "{archive / "agent" / "model" / "ports.py"}", line ' in told
    lines = (build.ROOT / "agent" / "model" / "ports.py").read_text(encoding="utf-8")
    shown = told.split("ports.py")[-1].splitlines()[1].strip()
    assert shown
    assert shown in lines


@VERSIONS
def test_data_is_beside_the_code(tmp_path: Path, version: str) -> None:
    made = tmp_path / "made.pyz"
    made.write_bytes(build.pack({**build.sources(build.ROOT), "agent/show/page.css": b"p { }"}))
    code = "print(pkgutil.get_data('agent', 'show/page.css'))"
    assert run(version, tmp_path, code, made) == "b'p { }'\n"
    code = """
import agent.show
try:
    pkgutil.get_data("agent.show", "page.css")
except OSError as error:
    print(error)
"""
    assert "page.css" in run(version, tmp_path, code, made)


def test_the_text_can_be_read_by_people(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        text = opened.read(build.ROOMS).decode("utf-8")
    assert "#-- agent/errors.py\n" in text
    assert "class UserError(Exception):\n" in text


def test_from_a_tree_of_files_nothing_is_served() -> None:
    code = (
        "import sys, agent.cli; print([one for one in sys.meta_path if 'Rooms' in repr(one)], 'unpack' in dir(agent))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=build.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


def test_the_text_is_taken_apart_as_it_was_put_together() -> None:
    finder = unpack.Rooms(b"#-- agent/a.py\n#-- agent/b/__init__.py\nB = 1\n#-- agent/b/c.py\nC = 1\n\n", "root")
    assert finder.find_spec("agent.x") is None
    found = {}
    for name in ("agent.a", "agent.b", "agent.b.c"):
        spec = finder.find_spec(name)
        assert spec is not None
        assert isinstance(spec.loader, SourceFileLoader)
        found[name] = (spec.origin, spec.submodule_search_locations, spec.loader.get_source(name))
    folder = os.path.join("root", "agent", "b")
    assert found == {
        "agent.a": (os.path.join("root", "agent", "a.py"), None, ""),
        "agent.b": (os.path.join(folder, "__init__.py"), [folder], "B = 1"),
        "agent.b.c": (os.path.join(folder, "c.py"), None, "C = 1\n\n"),
    }
