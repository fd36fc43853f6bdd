"""What one run of the server is to do."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.model import Installed
from ..core.address import Address
from ..core.plan import Plan


@dataclass(frozen=True)
class Options:
    """What the server is to do; `seconds` is how long it runs at most.

    `key` is the pairing key, which the client has already where it is `key_known`.
    `notes` are sentences about the configuration that the plan was read from.
    `installed` is what the configuration here says, where there is one; `unread` says why it is not known where there
    is. `prechecks`: look at this machine itself too, and where it is not `offline` ask whom LiveKit asks, and the DNS.
    `drop_privileges` is for a process that does nothing else, and has one thread: all of it becomes nobody's.
    `live` says that services go on running, to which the media ports are left but while a check runs.
    """

    plan: Plan
    bind: Address | None = None
    control: int | None = None
    once: bool = False
    seconds: float = 3600.0
    key: str | None = None
    key_known: bool = False
    drop_privileges: bool = False
    notes: tuple[str, ...] = ()
    installed: Installed | None = None
    unread: str = ""
    prechecks: bool = False
    offline: bool = False
    live: bool = False
