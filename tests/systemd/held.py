"""Units of a test's own that hold a port, beside those of the server."""

from __future__ import annotations

from typing import Any, Mapping

from tests.lab import until
from tests.systemd.parts import STOP, Plugnmeet

# A plan that these tests' own units hold, beside the server's.
PORT = 8443
PLAN = (*STOP, "--tcp", f"{PORT}", "--udp", "none", "--control", "8444")

_LISTEN = (
    f"import signal, socket; s = socket.create_server(('', {PORT})); "
    "signal.signal(signal.SIGTERM, signal.{term}); signal.pause()"
)


def holder(meet: Plugnmeet, name: str, unit: str = "", service: str = "", term: str = "SIG_DFL") -> None:
    """A unit of the test's own that listens on the port, and runs."""
    meet.machine.write(f"/opt/{name}.py", _LISTEN.replace("{term}", term))
    meet.machine.write(
        f"/etc/systemd/system/{name}.service",
        f"[Unit]\n{unit}\n[Service]\nType=exec\nExecStart=/usr/bin/python3 /opt/{name}.py\n{service}\n",
    )
    meet.machine.systemctl("daemon-reload")
    meet.machine.systemctl("start", name)
    until(lambda: listens(meet), f"{name} to listen")


def listens(meet: Plugnmeet) -> bool:
    """Whether somebody listens on the port of these tests."""
    return bool(meet.machine.must("ss", "-Hltn", f"sport = {PORT}"))


def busy(listening: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The ports that the server could not take, and what it says who has them."""
    assert all(one["reason"] == "busy" for one in listening["untested"])
    return [(one["first"], one["owner"]) for one in listening["untested"]]
