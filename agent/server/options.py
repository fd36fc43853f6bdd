"""What one run of the server is to do."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.model import Installed
from ..core.address import Address
from ..core.plan import Plan


@dataclass(frozen=True)
class Options:
    """What the server is to do."""

    plan: Plan
    bind: Address | None = None
    control: int | None = None
    once: bool = False
    seconds: float = 3600.0  # how long it runs at most
    key: str | None = None  # the pairing key
    key_known: bool = False  # the client has it already
    drop_privileges: bool = False  # it is a process that does nothing else, with one thread: all of it becomes nobody's
    notes: tuple[str, ...] = ()  # sentences about the configuration that the plan was read from
    installed: Installed | None = None  # what the configuration here says, where there is one
    unread: str = ""  # why that is not known where there is one
    prechecks: bool = False  # look at this machine itself too
    offline: bool = False  # where not, the pre-checks ask whom LiveKit asks, and the DNS
    live: bool = False  # services go on running, to which the media ports are left but while a check runs
