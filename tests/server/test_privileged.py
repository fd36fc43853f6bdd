"""What the process that keeps root takes for a request, and what comes of one that lies, dies or says nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family, parse_address
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.net.free_ports import find_free_run
from agent.server import privileged
from agent.server.privileged import HelperGone, PrivilegedHelper, PrivilegedOperations, job_of, start_helper
from tests.core.values import ANY

HERE = "127.0.0.1"
PORTS = PortRange(7880, 7881)
PLAN = Plan("mine", tuple(Requirement(one, PORTS, "mine", Need.REQUIRED) for one in Transport))


@pytest.fixture
def helper() -> Iterator[PrivilegedHelper]:
    """A process of one's own, for two free ports of each transport."""
    runs = {one: find_free_run(one, HERE, 2) for one in Transport}
    free = {one: run for one, run in runs.items() if run}
    plan = Plan("mine", tuple(Requirement(one, free[one], "mine", Need.REQUIRED) for one in Transport))
    with contextlib.closing(start_helper(PrivilegedOperations(plan, None, parse_address(HERE)), 1)) as started:
        started.planned = {one: {*free[one]} for one in Transport}
        yield started


@pytest.mark.parametrize("request_", ["read\n", "machine\n", "owners tcp 7880\n", "owners udp 7880 7881\n",
                                      "owners tcp 9443\n", "open tcp 7880 ipv4\n",
                                      "open udp 7881 ipv6 ipv4\n"])  # fmt: skip
def test_what_is_on_the_list(request_: str) -> None:
    assert callable(job_of(PrivilegedOperations(PLAN, 9443, None), request_))


@pytest.mark.parametrize(
    "request_",
    [
        "", "\n", "read", "machine", "machine /etc\n",
        "owners tcp 78800", "read \n", "READ\n", "read\nread\n", "owners\n", "owners sctp 7880\n",
        "owners tcp\nopen",
        "owners tcp 22\n", "owners tcp 07880\n", "owners tcp 7880 22\n", "owners tcp \n", "owners udp 9443\n",
        "open tcp 7880", "open tcp 22 ipv4\n", "open tcp\n", "open tcp 7880 ipv5\n", "open tcp 7880  ipv4\n",
        "open tcp 7880 ipv4 \n", "open udp 9443 ipv4\n", "exec tcp 7880 ipv4\n", "open tcp ../7880 ipv4\n",
        "open tcp \uff17880 ipv4\n",
    ],
)  # fmt: skip
def test_what_is_not_on_the_list(request_: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        job_of(PrivilegedOperations(PLAN, 9443, None), request_)


WORDS = st.sampled_from(["read", "machine", "owners", "open", "tcp", "udp", "ipv4", "7880", "22", " ", "\n"])


@ANY
@given(st.text() | st.lists(WORDS | st.text(max_size=3), max_size=6).map(" ".join))
def test_any_text_is_a_job_of_planned_ports_or_none(text: str) -> None:
    with contextlib.suppress(ValueError, KeyError):
        job_of(PrivilegedOperations(PLAN, None, None), text)


def test_a_port_that_the_other_process_opens(helper: PrivilegedHelper) -> None:
    for transport, kind in ((Transport.TCP, socket.SOCK_STREAM), (Transport.UDP, socket.SOCK_DGRAM)):
        port, other = sorted(helper.planned[transport])
        with helper.open(transport, port, (Family.IPV4,)) as opened:
            assert (opened.getsockname(), opened.type, opened.gettimeout()) == ((HERE, port), kind, 0)
            assert not opened.get_inheritable()
            with pytest.raises(OSError, match="in use") as caught:
                helper.open(transport, port, (Family.IPV4,))
            assert caught.value.errno == errno.EADDRINUSE
            name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
            assert helper.owners(transport, {port, other}) == {port: f"{name} (pid {os.getpid()})"}
        helper.open(transport, port, (Family.IPV4,)).close()  # nobody else has kept it


def test_the_other_process_has_none_of_this_ones_sockets() -> None:
    with contextlib.closing(start_helper(PrivilegedOperations(PLAN, None, None), 1)) as helper, socket.socket() as ours:
        folder = f"/proc/{helper.pid}/fd"
        helper.owners(Transport.TCP, PORTS)  # an answer, so it is ready
        theirs = {os.readlink(f"{folder}/{one}") for one in os.listdir(folder)}
        assert os.readlink(f"/proc/self/fd/{ours.fileno()}") not in theirs
        assert len([one for one in theirs if one.startswith("socket:")]) == 2


def test_the_other_process_tells_of_the_machine(helper: PrivilegedHelper) -> None:
    machine = helper.machine()
    assert machine.ephemeral_ports is not None
    assert abs(machine.now - time.time()) < 60


def test_a_request_for_another_port_ends_it(helper: PrivilegedHelper) -> None:
    assert helper.owners(Transport.TCP, {22}) == {}
    with pytest.raises(HelperGone):
        helper.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_that_is_for_all_does_not_end_it(helper: PrivilegedHelper, number: signal.Signals) -> None:
    os.kill(helper.pid, number)
    port, _ = helper.planned[Transport.TCP]
    helper.open(Transport.TCP, port, (Family.IPV4,)).close()


def test_nobody_is_left_to_ask(helper: PrivilegedHelper) -> None:
    os.kill(helper.pid, signal.SIGKILL)
    port, _ = helper.planned[Transport.UDP]
    assert helper.owners(Transport.UDP, {port}) == {}
    with pytest.raises(OSError, match="in use") as caught:
        helper.open(Transport.UDP, port, (Family.IPV4,))
    assert caught.value.errno == errno.EADDRINUSE
    for _ in range(2):
        for ask in (helper.read, helper.machine):
            with pytest.raises(HelperGone, match="root"):
                ask()


def test_one_that_hangs_is_not_waited_for(helper: PrivilegedHelper, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUICK_SECONDS", "READ_SECONDS", "END_SECONDS"):
        monkeypatch.setattr(privileged, name, 0.1)
    port, _ = helper.planned[Transport.UDP]
    os.kill(helper.pid, signal.SIGSTOP)
    try:
        assert helper.owners(Transport.UDP, {port}) == {}
        with pytest.raises(HelperGone):
            helper.read()
        helper.close()
    finally:
        os.kill(helper.pid, signal.SIGKILL)
        os.waitpid(helper.pid, 0)


@pytest.mark.parametrize(
    "said",
    [b"", b"\1", struct.pack("=I", 5), struct.pack("=I", 4) + b"\x80\x04N", struct.pack("=I", 3) + b"abc",
     struct.pack("=I", privileged.MAX_ANSWER + 1)],
)  # fmt: skip
def test_half_an_answer_or_none(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(HelperGone):
            privileged._ask(ours, "read", 5)
    assert ours.fileno() == -1


def test_an_answer_is_read_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    rows = [f"rule {number}" for number in range(20_000)]
    with ours, theirs:
        assert len(pickle.dumps(rows, 4)) > 2 * 64 * 1024
        reader = os.fork()
        if reader == 0:
            try:
                privileged._answer(theirs, rows)
            finally:
                os._exit(0)
        assert privileged._ask(ours, "read", 5) == rows
        os.waitpid(reader, 0)
