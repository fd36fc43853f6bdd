"""What each room of agent/ may import and do: a file imports only from its own room and from those above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

import build
from tests.pythons import need

# From the top of the house to its bottom; rooms in one row are side by side, and none imports another.
FLOORS = (
    ("__init__",), ("errors",), ("model",), ("wire",), ("judge", "host", "show"), ("net",),
    ("server", "client", "guardian"), ("selftest", "pause"), ("cli",), ("__main__",),
)  # fmt: skip
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

PURE = ("errors", "model", "wire", "judge", "show")
# What reaches outside, reads a clock or draws chance; `random` is let in for the type of what is handed in.
IMPURE = frozenset((
    "asyncio", "datetime", "fcntl", "getpass", "glob", "http", "io", "locale", "logging", "multiprocessing", "os",
    "pathlib", "platform", "queue", "resource", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl",
    "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
))  # fmt: skip
NETWORK = frozenset(("socket", "ssl", "selectors", "select", "asyncio"))
NEWER_THAN_38 = frozenset(("zoneinfo", "graphlib", "tomllib", "annotationlib", "compression"))

SOURCES = {path.relative_to(build.ROOT).as_posix(): path.read_text(encoding="utf-8")
           for path in sorted((build.ROOT / "agent").rglob("*.py"))}  # fmt: skip


def module_of(path: str) -> str:
    return path[: -len(".py")].replace("/", ".")


MODULES = frozenset(map(module_of, SOURCES))


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: str, source: str) -> Iterator[str]:
    """The modules that a file imports, wherever in it: full names within agent, others as they stand."""
    package = module_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield f"{name}.{alias.name}" if f"{name}.{alias.name}" in MODULES else name


def used(source: str) -> Iterator[str]:
    """Names that a file reads, and attributes of names, as `sys.stdout`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def faults(path: str, source: str) -> Iterator[str]:
    room = room_of(module_of(path))
    for name in imports(path, source):
        top = name.split(".")[0]
        if top == "agent":
            other = room_of(name)
            if other != room and FLOOR[other] >= FLOOR[room]:
                yield f"imports {name}, which is not above {room}"
        elif top not in sys.stdlib_module_names or top in NEWER_THAN_38:
            yield f"imports {name}, which Python 3.8 does not bring"
        if room in PURE and top in IMPURE:
            yield f"imports {name}, which does I/O or reads a clock"
        if room != "net" and top in NETWORK:
            yield f"imports {name}, which only net may"
    for word in used(source):
        if word == "print" or (word == "sys.stdout" and room != "cli"):
            yield f"uses {word}"
        if word == "sys.stderr" and room not in ("cli", "__main__"):
            yield f"uses {word}"
        if room in PURE and (word in ("open", "input") or (word.startswith("random.") and word != "random.Random")):
            yield f"uses {word} in a room that only decides"
    if room in PURE and any(isinstance(node, ast.ImportFrom) and node.module == "random"
                            for node in ast.walk(ast.parse(source))):  # fmt: skip
        yield "draws chance of its own"


@pytest.mark.parametrize("path", SOURCES)
def test_every_file_keeps_to_its_room(path: str) -> None:
    assert list(faults(path, SOURCES[path])) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("agent/errors.py", "from .model import ports"),
        ("agent/model/new.py", "from ..wire import stun"),
        ("agent/model/new.py", "from agent.wire.stun import decode"),
        ("agent/wire/new.py", "def late():\n    from ..judge.desk import Desk"),
        ("agent/judge/new.py", "from ..show.text import render"),
        ("agent/show/new.py", "from ..host import owners"),
        ("agent/host/new.py", "from ..net import tls"),
        ("agent/net/new.py", "from .. import server"),
        ("agent/client.py", "from .server import Server"),
        ("agent/server.py", "from . import selftest"),
        ("agent/selftest.py", "from .cli import main"),
        ("agent/host/new.py", "import socket"),
        ("agent/selftest.py", "import ssl"),
        ("agent/cli.py", "import selectors"),
        ("agent/cli.py", "import requests"),
        ("agent/host/new.py", "import zoneinfo"),
        ("agent/judge/new.py", "import time"),
        ("agent/wire/new.py", "import os.path"),
        ("agent/judge/new.py", "import random\nchance = random.random()"),
        ("agent/judge/new.py", "from random import Random"),
        ("agent/model/new.py", "open('plan.json')"),
        ("agent/client.py", "print('done')"),
        ("agent/server.py", "import sys\nsys.stdout.write('done')"),
        ("agent/net/new.py", "import sys\nsys.stderr.write('done')"),
    ],
)
def test_what_no_room_may_do_is_seen(path: str, source: str) -> None:
    assert len(list(faults(path, source))) >= 1


def test_the_syntax_is_that_of_38() -> None:
    for path, source in SOURCES.items():
        ast.parse(source, path, feature_version=(3, 8))


def run(python: Path, code: str, *arguments: str) -> str:
    """What it says that it has to say against the code: nothing where all is well."""
    command = [str(python), "-B", "-c", code, *arguments]
    return subprocess.run(command, cwd=build.ROOT, stderr=subprocess.PIPE, text=True, check=False).stderr


def test_every_file_can_be_imported_by_38() -> None:
    assert run(need("3.8"), f"import {', '.join(sorted(MODULES))}") == ""


def test_python_2_can_read_the_way_in() -> None:
    # Else it would show a traceback where it has to say that it is too old.
    code = "import sys; [compile(open(path).read(), path, 'exec') for path in sys.argv[1:]]"
    assert run(need("2.7"), code, "agent/__init__.py", "agent/__main__.py") == ""
    assert "SyntaxError" in run(need("2.7"), code, "agent/cli.py")
