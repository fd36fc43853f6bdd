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
from ..core.ports import PortRange
from ..net.free_ports import find_free_run
from ..server.options import Options
from ..server.run import Server
from ..system import limits

HOST = "127.0.0.1"
# As many as a real check has, where the system lets one process open so many sockets.
TCP_PORTS, UDP_PORTS = 3, 10_001
# Where the system refuses the limit that these need, as macOS does, it may grant one for fewer.
FEWER_UDP_PORTS = (8_000, 4_000, 1_000, 200)
# Sockets of the client, which runs in the same process: a pass has a dozen, and the control channel one.
CLIENT_SOCKETS = 50
START_SECONDS = 20.0  # openssl may take five of them


@contextlib.contextmanager
def serving() -> Iterator[tuple[check.Options, tuple[str, ...]]]:
    """Run a server on free ports of the loopback address; raise UserError where it cannot start.

    Yields the options for its client, and notes on what was left out.
    """
    tcp, udp, notes = _choose_ports()
    rows = tuple(
        Requirement(transport, run, "selftest", Need.REQUIRED)
        for transport, run in ((Transport.TCP, tcp), (Transport.UDP, udp))
    )
    started: queue.Queue[Listening | UserError] = queue.Queue()

    def on_event(event: Event) -> None:
        if isinstance(event, Listening):
            started.put(event)

    running = Server(Options(Plan("selftest", rows), parse_address(HOST), once=True), on_event)

    def run() -> None:
        try:
            running.run()
        except UserError as error:
            started.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        outcome = started.get(timeout=START_SECONDS)
    except queue.Empty:
        raise UserError("selftest", "The server did not start", "it took too long", "try again") from None
    if isinstance(outcome, UserError):
        raise outcome
    yield check.Options((HOST,), outcome.control), notes
    running.stop()
    thread.join(START_SECONDS)


def _choose_ports() -> tuple[PortRange, PortRange, tuple[str, ...]]:
    """Return free TCP and UDP ports, and why they are fewer than a real check has."""
    others = TCP_PORTS + CLIENT_SOCKETS
    counts = (limits.raise_descriptor_limit(wanted + others) - others for wanted in (UDP_PORTS, *FEWER_UDP_PORTS))
    count = next((count for count in counts if count > 0), 0)
    tcp = find_free_run(Transport.TCP, HOST, TCP_PORTS)
    udp = find_free_run(Transport.UDP, HOST, count) if count else None
    if tcp is None or udp is None:
        why = "this process may open too few sockets" if not count else "other programs use all ports that were tried"
        raise UserError("selftest", "No ports to test with", why, "raise the limit of open files, or try again later")
    if len(udp) == UDP_PORTS:
        return tcp, udp, ()
    why = f"no longer run of ports is free at {HOST}" if len(udp) < count else "this process may open no more sockets"
    return tcp, udp, (f"Tested with {len(udp):,} UDP ports, where a real check has {UDP_PORTS:,}: {why}.",)
