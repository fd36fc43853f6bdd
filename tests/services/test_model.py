"""What is stopped and started: how that is told to systemd and Docker, and the list of it on disk."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.core.events import Service, ServiceKind, ServiceTransition, Step
from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.services.model import StopList, command, is_name, read_stop_list, read_transition, to_json
from tests.core.values import ANY

# Limits, by their numbers: who changes one changes it here too.
MAX_PORTS = 500
MAX_SERVICES = 64

TCP, UDP = Transport.TCP, Transport.UDP
HAPROXY = Service(ServiceKind.UNIT, "haproxy.service", ("haproxy.socket",), ((TCP, PortRange(80, 80)),), ((TCP, 80),))
COMPOSE = Service(ServiceKind.COMPOSE, "plugnmeet", ("livekit", "redis"), awaited=((TCP, 7881), (UDP, 443)))
LIST = StopList((HAPROXY, COMPOSE), 812, "4711", 600.0)


@pytest.mark.parametrize(
    ("service", "verb", "words"),
    [
        (HAPROXY, "stop", "systemctl --no-ask-password stop -- haproxy.socket haproxy.service"),
        (HAPROXY, "start",
         "systemctl --no-ask-password --job-mode=ignore-requirements start -- haproxy.socket haproxy.service"),
        (COMPOSE, "stop", "docker compose -p plugnmeet stop livekit redis"),
        (Service(ServiceKind.CONTAINER, "turn"), "start", "docker start turn"),
    ],
)  # fmt: skip
def test_what_stops_and_starts(service: Service, verb: str, words: str) -> None:
    assert command(service, verb) == words.split()


def test_the_list_as_it_is_on_disk() -> None:
    shown = replace(LIST, services=(replace(HAPROXY, ports=()), COMPOSE))
    assert read_stop_list(json.dumps(to_json(LIST)).encode()) == shown


def test_the_list_of_an_older_version_is_read() -> None:
    old = b"""{"services": [
        {"kind": "unit", "name": "haproxy.service", "members": ["haproxy.socket"],
         "awaited": [{"transport": "tcp", "port": 80}]},
        {"kind": "compose", "name": "plugnmeet", "members": ["livekit", "redis"],
         "awaited": [{"transport": "tcp", "port": 7881}, {"transport": "udp", "port": 443}]}
    ], "pid": 812, "began": "4711", "seconds": 600.0}"""
    assert read_stop_list(old) == replace(LIST, services=(replace(HAPROXY, ports=()), COMPOSE))
    assert json.loads(old) == to_json(LIST)


@pytest.mark.parametrize("name", ["haproxy.service", "coturn@a.service", r"dev-\x2d.socket", "a:b_c.timer", "x.path"])
def test_names_of_units(name: str) -> None:
    assert is_name(ServiceKind.UNIT, name)


@pytest.mark.parametrize("name", ["", "-h.service", "--now.service", "a b.service", "a/b.service", "x.target",
                                  "x.service\n", "é.service", "x.mount", "a" * 256 + ".service"])  # fmt: skip
def test_what_is_no_name_of_a_unit_that_is_stopped(name: str) -> None:
    assert not is_name(ServiceKind.UNIT, name)
    assert not is_name(ServiceKind.CONTAINER, "-x")


def changed(**fields: Any) -> dict[str, Any]:
    return {**to_json(LIST), **fields}


def one(**fields: Any) -> dict[str, Any]:
    return changed(services=[{**to_json(LIST)["services"][0], **fields}])


@pytest.mark.parametrize(
    "value",
    [
        [], {}, changed(services=None), changed(pid=0), changed(pid="812"), changed(seconds=-1), changed(began=4711),
        changed(services=to_json(LIST)["services"] * MAX_SERVICES), one(kind="shell"), one(name="-rf"),
        one(name="ssh.service; reboot"), one(members=["--now"]), one(members="x"), one(awaited=[80]),
        one(awaited=[{"transport": "tcp", "port": 0}]), one(awaited=[{"transport": "sctp", "port": 80}]),
        one(awaited=[{"transport": "tcp", "port": 80}] * (MAX_PORTS + 1)), one(kind="compose", name="../x"),
    ],
)  # fmt: skip
def test_what_is_no_list(value: object) -> None:
    with pytest.raises(DecodeError):
        read_stop_list(json.dumps(value).encode())


@ANY
@given(st.binary() | st.integers(0, 400).map(lambda at: json.dumps(to_json(LIST)).encode()[:at]))
def test_any_bytes_are_a_list_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        read_stop_list(data)


@pytest.mark.parametrize(
    "moved", [ServiceTransition(Step.READY), ServiceTransition(Step.FAILED, "x.service", "it failed")]
)
def test_a_line_of_the_guardians(moved: ServiceTransition) -> None:
    assert read_transition(json.dumps(vars(moved)).encode()) == moved


@pytest.mark.parametrize("line", [b"Failed to start transient service unit", b'{"step":"ready"}', b""])
def test_what_is_no_line_of_the_guardians(line: bytes) -> None:
    with pytest.raises(DecodeError):
        read_transition(line)
