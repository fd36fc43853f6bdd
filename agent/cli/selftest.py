"""Both sides on this machine over loopback: does this file work here?"""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator

from ..client import check
from ..core.address import parse_address
from ..core.errors import UserError
from ..core.events import Event, Listening
from ..core.plan import Need, Plan, Requirement, Transport
from ..net.free_ports import free_run
from ..server import run as server

HOST = "127.0.0.1"
TCP_PORTS, UDP_PORTS = 3, 200  # as many as Windows' select() takes, with room for the connections
START_SECONDS = 20.0  # openssl may take five of them


@contextlib.contextmanager
def serving() -> Iterator[check.Options]:
    """A server on free ports of the loopback address, and the options for its client; UserError."""
    ready = threading.Event()
    found: list[Listening | UserError] = []

    def tell(notice: Event) -> None:
        if isinstance(notice, Listening):
            found.append(notice)
            ready.set()

    def run(one: server.Server) -> None:
        try:
            one.run()
        except UserError as error:
            found.append(error)
            ready.set()

    running = server.Server(server.Options(_plan(), parse_address(HOST), once=True), tell)
    thread = threading.Thread(target=run, args=(running,), daemon=True)
    thread.start()
    ready.wait(START_SECONDS)
    if not found:
        raise UserError("selftest", "The server's side did not start", "it took too long", "try again")
    if isinstance(found[0], UserError):
        raise found[0]
    yield check.Options((HOST,), found[0].control)
    running.stop()
    thread.join(START_SECONDS)


def _plan() -> Plan:
    counts = {Transport.TCP: TCP_PORTS, Transport.UDP: UDP_PORTS}
    return Plan("selftest", tuple(Requirement(transport, free_run(transport, HOST, count), "selftest", Need.REQUIRED)
                                  for transport, count in counts.items()))  # fmt: skip
