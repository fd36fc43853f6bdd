"""Run the server on this machine's loopback address, for a client in the same process: does this file work here?"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Iterator

from ..client import check
from ..core.address import parse_address
from ..core.errors import UserError
from ..core.events import Event, Listening
from ..core.plan import Need, Plan, Requirement, Transport
from ..net.free_ports import find_free_run
from ..server.options import Options
from ..server.run import Server
from ..system import limits

HOST = "127.0.0.1"
# As many as a real check has, where the system lets one process open so many sockets.
TCP_PORTS, UDP_PORTS = 3, 10_001
# Where the system refuses the limit that these need, as macOS does, it may grant one for fewer.
FEWER_UDP_PORTS = (8_000, 4_000, 1_000, 200)
# Sockets beside the UDP ports: a pass of the client, which runs in the same process, has a dozen, its control channel
# one.
OTHER_SOCKETS = TCP_PORTS + 50
START_SECONDS = 20.0  # openssl may take five of them


@contextlib.contextmanager
def serving() -> Iterator[tuple[check.Options, tuple[str, ...]]]:
    """Run a server on free ports of the loopback address; raise UserError where it cannot start.

    Yields the options for its client, and notes on what was left out.
    """
    plan, notes = _make_plan()
    started: queue.Queue[Event | UserError] = queue.Queue()
    server = Server(Options(plan, parse_address(HOST), once=True), started.put)

    def run() -> None:
        try:
            server.run()
        except UserError as error:
            started.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        event = started.get(timeout=START_SECONDS)
    except queue.Empty:
        raise UserError("selftest", "The server did not start", "it took too long", "try again") from None
    if isinstance(event, UserError):
        raise event
    assert isinstance(event, Listening)
    yield check.Options((HOST,), event.control), notes
    server.stop()
    thread.join(START_SECONDS)


def _make_plan() -> tuple[Plan, tuple[str, ...]]:
    """Return a plan of free ports, and why they are fewer than a real check has."""
    counts = (limits.raise_descriptor_limit(wanted + OTHER_SOCKETS) - OTHER_SOCKETS
              for wanted in (UDP_PORTS, *FEWER_UDP_PORTS))  # fmt: skip
    count = next((count for count in counts if count > 0), 0)
    if not count:
        why = f"it needs {limits.RESERVED + OTHER_SOCKETS + 50} open files, and this process may have fewer"
        hint = "raise the limit of open files (`ulimit -n 11000`, as root where that is refused), then try again"
        raise UserError("selftest", "The selftest cannot open its sockets", why, hint)
    tcp, udp = find_free_run(Transport.TCP, HOST, TCP_PORTS), find_free_run(Transport.UDP, HOST, count)
    if tcp is None or udp is None:
        raise UserError(
            "selftest", "No ports to test with", "other programs use all that were tried", "try again later"
        )
    rows = (Requirement(Transport.TCP, tcp, "selftest", Need.REQUIRED),
            Requirement(Transport.UDP, udp, "selftest", Need.REQUIRED))  # fmt: skip
    why = f"no longer run of ports is free at {HOST}" if len(udp) < count else "this process may open no more sockets"
    note = f"Tested with {len(udp):,} UDP ports, where a real check has {UDP_PORTS:,}: {why}."
    return Plan("selftest", rows), (note,) if len(udp) < UDP_PORTS else ()
