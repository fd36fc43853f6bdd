"""Units of a test's own that hold a port, beside those of the server."""

from __future__ import annotations

from typing import Any, Mapping

from tests.lab import until
from tests.systemd.machine import PROGRAMS
from tests.systemd.parts import STOP, Plugnmeet

# A plan that these tests' own units hold, beside the server's.
PORT = 8443
PLAN = (*STOP, "--tcp", f"{PORT}", "--udp", "none", "--control", "8444")

LISTEN = PROGRAMS / "listen.py"


def holder(meet: Plugnmeet, name: str, unit: str = "", service: str = "", how: str = "") -> None:
    """Start a unit of the test's own that listens on the port; `how` is what `listen.py` takes besides."""
    meet.machine.write(f"/opt/{name}.py", LISTEN.read_text(encoding="ascii"))
    meet.machine.write(
        f"/etc/systemd/system/{name}.service",
        f"[Unit]\n{unit}\n[Service]\nType=exec\nExecStart=/usr/bin/python3 /opt/{name}.py {PORT} {how}\n{service}\n",
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
