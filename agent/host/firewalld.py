"""firewalld, as `firewall-cmd` tells (firewall-cmd(1)): the zone that rules every interface that no other zone has."""

from __future__ import annotations

from .tools import ask

# What it says where the daemon does not run, and where the bus does not, on which it would be asked.
_NOT_THERE = ("not running", "Failed to connect to socket")


def read_firewalld() -> tuple[str | None, str]:
    """The default zone, None where it does not run; and why it could not be read, if so."""
    told = ask("firewall-cmd", "--get-default-zone")
    if told.text is None:
        return None, "" if told.missing or any(words in told.trouble for words in _NOT_THERE) else told.trouble
    return told.text.strip() or None, ""
