"""The ports that a server holds, on this machine's own sockets."""

from __future__ import annotations

import os
import random
import socket
from typing import Iterator

import pytest

from agent.core.address import Family, parse_address
from agent.core.observation import Reason
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.server import listeners as module
from agent.server.core import ServerCore
from agent.server.kernel_counters import KernelCounters
from agent.server.listeners import Listeners
from agent.server.loop import Loop
from agent.server.options import Options
from agent.server.outside import HairpinProbe
from agent.server.privileged import PrivilegedOperations
from agent.server.state import PortState, Settings

HERE = parse_address("127.0.0.1")
UDP, TCP = Transport.UDP, Transport.TCP
NUMBER = 8


def free_run() -> int:
    """The first of some UDP ports in a row that are free, with a TCP port before them."""
    for first in range(20000, 60000, NUMBER + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(NUMBER)]
            try:
                tcp.bind((str(HERE), first))
                for number, one in enumerate(opened, 1):
                    one.bind((str(HERE), first + number))
                return first
            except OSError:
                continue
            finally:
                for one in opened:
                    one.close()
    raise AssertionError("no ports are free here")


@pytest.fixture
def loop() -> Iterator[Loop]:
    core = ServerCore(Settings(Plan("none", ()), "0"), PortState(), random.Random(1).randbytes)
    made = Loop(core, None, None, KernelCounters(None), HairpinProbe(core.tag))
    yield made
    made.close()


def listening(loop: Loop) -> list[int]:
    return sorted(one.port for one in loop._listeners if one.transport is UDP)


def test_one_part_is_held_at_a_time_but_for_what_others_hold(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_run()
    ports = range(first + 1, first + 1 + NUMBER)
    rows = (Requirement(TCP, PortRange(first, first), "it", Need.REQUIRED),
            Requirement(UDP, PortRange(ports[0], ports[-1]), "media", Need.REQUIRED))  # fmt: skip
    plan = Plan("mine", rows)
    parts = {port: int(port > ports[3]) for port in ports if port != ports[0]}
    asked: list[int] = []

    def denied(transport: Transport, port: int, *_: object) -> socket.socket:
        asked.append(port)
        raise PermissionError(13, "no")

    hands = PrivilegedOperations(plan, None, HERE)
    monkeypatch.setattr(hands, "open", denied)
    told = [{}, {ports[2]: "livekit-server (pid 1)"}, {}, {ports[2]: f"python (pid {os.getpid()})"}, {}, {}]
    monkeypatch.setattr(hands, "owners", lambda transport, _: told.pop(0) if transport is UDP else {})
    listeners = Listeners(Options(plan, HERE), loop, hands, parts)
    room = listeners._opener.room
    assert (listening(loop), listeners.control_port()) == ([ports[0]], first)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((str(HERE), ports[2]))
        listeners.bind_partition(0)
        assert listening(loop) == [ports[0], ports[1], ports[3]]
        assert listeners.state().untested[Family.IPV4][UDP] == {ports[2]: Reason.BUSY}
        assert (UDP, PortRange(ports[3], ports[3])) in listeners.listening()
        assert [one.owner for one in listeners.unavailable] == ["livekit-server (pid 1)"]
    listeners.bind_partition(1)
    # Who had it then is known, though he has it no more.
    assert [one.owner for one in listeners.unavailable] == ["livekit-server (pid 1)"]
    assert listening(loop) == [ports[0], *ports[4:]]
    assert listeners.state().untested[Family.IPV4][UDP] == {ports[2]: Reason.BUSY}  # as it was in its turn
    assert listeners.listening() == ((TCP, PortRange(first, first)), (UDP, PortRange(ports[0], ports[0])),
                                    (UDP, PortRange(ports[4], ports[7])))  # fmt: skip
    listeners.release_partition()
    assert (listening(loop), listeners._opener.room) == ([ports[0]], room)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((str(HERE), ports[2]))
        listeners.bind_partition(0)
        # This process may have it for another family: that is nobody to name.
        assert [one.owner for one in listeners.unavailable] == [None]
    listeners.bind_partition(0)
    assert listening(loop) == [*ports[:4]]
    assert listeners.state().untested[Family.IPV4][UDP] == {}
    assert asked == []
    monkeypatch.setattr(module, "open_port", denied)
    listeners.bind_partition(1)
    assert asked == [port for port in ports[4:] for _ in range(2)]
    assert listeners.state().untested[Family.IPV4][UDP] == dict.fromkeys(ports[4:], Reason.DENIED)
    listeners.release_partition()


def test_a_port_that_is_held_for_one_family_may_not_do(loop: Loop) -> None:
    first = free_run()
    plan = Plan("mine", (Requirement(TCP, PortRange(first, first), "it", Need.REQUIRED),))
    with socket.create_server((str(HERE), first)):
        listeners = Listeners(Options(plan), loop, PrivilegedOperations(plan, None, None), {})
        if len(listeners.families) < 2:
            return
        assert listeners._first_bound([first], for_all_families=False) == first
        assert listeners._first_bound([first], for_all_families=True) is None
