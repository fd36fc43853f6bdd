"""The map of the house: what each room of agent/ may import, and which files decide without touching the world."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Iterator

import coverage
import pytest

import build
from tests.pythons import need

# Each room, the rooms that it imports, and its pure files: those take bytes, values and `now`, and return values. They
# do no I/O, read no clock and draw no random numbers; "*" is every file. A room imports only from rooms above it.
ROOMS: dict[str, tuple[str, str]] = {
    # room: (imports, pure files)
    "core": ("", "*"),
    "protocol": ("core", "*"),
    "packet": ("core protocol", "*"),
    "net": ("core packet", "__init__"),
    "system": ("core", "__init__"),
    "sweep": ("core", "*"),
    "verdict": ("core sweep", "*"),
    "firewall": ("core sweep system verdict", "__init__ model iptables nftables nft_conditions nft_text "
                 "evaluate chain_walk matching blocking_rules fixes common_mistakes provider_fixes operator_report"),
    "config": ("core system", "__init__ model document flat_yaml settings"),
    "preflight": ("config core packet protocol system",
                  "__init__ model evaluate addresses certificates interfaces kernel"),
    "services": ("core system", "__init__ model parse plan"),
    "output": ("core", "*"),
    "client": ("core net packet protocol sweep verdict", "__init__ control_client order probe_exchange "
               "service_records steps"),
    "server": ("config core firewall net packet preflight protocol system", "__init__ core commands state "
               "connection sessions probes limits packet_observer options"),
    "cli": ("client config core net output protocol server services system", "__init__"),
    "__main__": ("cli", ""),
}  # fmt: skip
SOCKETS = ("client", "net", "server")  # the only rooms that may import the modules of NETWORK
PRINTS = ("cli", "__main__")  # the only rooms that may write to stdout and stderr

# What reaches outside, reads a clock or draws random numbers. `random` is let in for the type of what is handed in.
IMPURE = frozenset((
    "asyncio", "datetime", "fcntl", "getpass", "glob", "http", "io", "locale", "logging", "multiprocessing", "os",
    "pathlib", "platform", "queue", "resource", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl",
    "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
))  # fmt: skip
NETWORK = frozenset(("socket", "ssl", "selectors", "select", "asyncio"))
NEWER_THAN_38 = frozenset(("zoneinfo", "graphlib", "tomllib", "annotationlib", "compression"))

AGENT = build.ROOT / "agent"
SOURCES = {path.relative_to(build.ROOT).as_posix(): path.read_text(encoding="utf-8")
           for path in sorted((build.ROOT / "agent").rglob("*.py"))}  # fmt: skip


def module_of(path: str) -> str:
    name = path[: -len(".py")].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


MODULES = frozenset(map(module_of, SOURCES))


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def is_pure(path: str) -> bool:
    room, _, name = path[len("agent/") : -len(".py")].rpartition("/")
    return any(fnmatch(name, pattern) for pattern in ROOMS.get(room, ("", ""))[1].split())


def imports(path: str, source: str) -> Iterator[str]:
    """The modules that a file imports, wherever in it: full names within agent, others as they stand."""
    package = path.split("/")[:-1]
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
    room, pure = room_of(module_of(path)), is_pure(path)
    allowed = {room, "__init__", *ROOMS.get(room, ("", ""))[0].split()}
    for name in imports(path, source):
        top = name.split(".")[0]
        if top == "agent":
            if room_of(name) not in allowed:
                yield f"imports {name}, and the map has no arrow from {room} to there"
        elif top not in sys.stdlib_module_names or top in NEWER_THAN_38:
            yield f"imports {name}, which Python 3.8 does not bring"
        if pure and top in IMPURE:
            yield f"imports {name}, which does I/O or reads a clock"
        if top in NETWORK and room not in SOCKETS:
            yield f"imports {name}, which only {', '.join(SOCKETS)} may"
    for word in used(source):
        if word == "print" or (word in ("sys.stdout", "sys.stderr") and room not in PRINTS):
            yield f"uses {word}"
        if pure and (word in ("open", "input") or (word.startswith("random.") and word != "random.Random")):
            yield f"uses {word} in a file that only decides"
    if pure and any(
        isinstance(node, ast.ImportFrom) and node.module == "random" for node in ast.walk(ast.parse(source))
    ):
        yield "draws random numbers of its own"


def test_a_room_imports_only_from_rooms_above() -> None:
    rooms = list(ROOMS)
    for room, (imported, _) in ROOMS.items():
        assert set(imported.split()) <= set(rooms[: rooms.index(room)]), room


def test_the_map_is_of_this_house() -> None:
    rooms = {room_of(module) for module in MODULES if module != "agent"} - {"__init__"}
    assert rooms == set(ROOMS)
    for room, (imported, pure) in ROOMS.items():
        files = {Path(path).stem for path in SOURCES if path.startswith(f"agent/{room}/")}
        assert set(pure.split()) <= files | {"*"}, room
        there = {room_of(name) for path, source in SOURCES.items() if room_of(module_of(path)) == room
                 for name in imports(path, source) if name.startswith("agent.")}  # fmt: skip
        assert there - {room, "__init__"} == set(imported.split()), room


@pytest.mark.parametrize("path", SOURCES)
def test_every_file_keeps_to_its_room(path: str) -> None:
    assert list(faults(path, SOURCES[path])) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("agent/core/new.py", "from ..protocol import stun"),
        ("agent/core/new.py", "from agent.protocol.stun import decode"),
        ("agent/protocol/new.py", "def late():\n    from ..verdict.state import classify"),
        ("agent/verdict/new.py", "from ..output.text import render"),
        ("agent/output/new.py", "from ..system import port_owners"),
        ("agent/system/new.py", "from ..net import tls"),
        ("agent/net/new.py", "from .. import server"),
        ("agent/client/new.py", "from ..server.run import Server"),
        ("agent/server/new.py", "from ..cli import selftest"),
        ("agent/__main__.py", "from .server.run import Server"),
        ("agent/system/new.py", "import socket"),
        ("agent/cli/new.py", "import ssl"),
        ("agent/services/new.py", "import selectors"),
        ("agent/cli/new.py", "import requests"),
        ("agent/system/new.py", "import zoneinfo"),
        ("agent/verdict/new.py", "import time"),
        ("agent/server/sessions.py", "import time"),
        ("agent/firewall/fixes.py", "import subprocess"),
        ("agent/protocol/new.py", "import os.path"),
        ("agent/sweep/new.py", "import random\nchance = random.random()"),
        ("agent/sweep/new.py", "from random import Random"),
        ("agent/core/new.py", "open('plan.json')"),
        ("agent/cli/new.py", "print('done')"),
        ("agent/client/new.py", "print('done')"),
        ("agent/server/new.py", "import sys\nsys.stdout.write('done')"),
        ("agent/net/new.py", "import sys\nsys.stderr.write('done')"),
    ],
)
def test_what_no_room_may_do_is_seen(path: str, source: str) -> None:
    assert len(list(faults(path, source))) >= 1


def test_the_syntax_is_that_of_38() -> None:
    for path, source in SOURCES.items():
        ast.parse(source, path, feature_version=(3, 8))


GENERICS = frozenset(("dict", "list", "tuple", "set", "frozenset", "type", "deque", "defaultdict", "Counter"))


def test_python_38_can_evaluate_it() -> None:
    """Only annotations may write `dict[int, str]`: Python 3.8 does not evaluate those, and fails where it must."""
    for path, source in SOURCES.items():
        nodes = list(ast.walk(ast.parse(source)))
        hints = [hint for node in nodes for name in ("annotation", "returns") if (hint := getattr(node, name, None))]
        annotations = {id(node) for hint in hints for node in ast.walk(hint)}
        assert [
            f"{path}:{node.lineno}" for node in nodes
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in GENERICS
            and id(node) not in annotations
        ] == []  # fmt: skip


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
    assert "SyntaxError" in run(need("2.7"), code, "agent/cli/main.py")


def test_the_map_names_files_that_there_are() -> None:
    text = (build.ROOT / "agent" / "README.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([a-z_]+/[a-zA-Z_./]+)`", text) if not name.endswith("/")}
    assert len(named) > 30
    assert [name for name in sorted(named) if not any((root / name).is_file() for root in (build.ROOT, AGENT))] == []
    assert set(ROOMS) - {"__main__"} <= set(re.findall(r"^.{16}([a-z]+) ", text, re.MULTILINE))


def test_coverage_is_measured_of_what_is_pure() -> None:
    """The gate of pyproject.toml leaves out the files that touch the machine, and no other."""
    left_out = coverage.Coverage(config_file=build.ROOT / "pyproject.toml").get_option("run:omit")
    assert isinstance(left_out, list)
    impure = {path for path in SOURCES if not is_pure(path)}
    matched = {path for path in SOURCES if any(fnmatch(path, str(pattern)) for pattern in left_out)}
    assert matched == impure
