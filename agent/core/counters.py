"""What the server's own kernel keeps room for, and what it dropped. None is 'not measured', never 0."""

from __future__ import annotations

from dataclasses import dataclass

# Where more is free, or was dropped, the number tells nobody anything more; and it has to fit into a message.
MAX_COUNT = 10**9


@dataclass(frozen=True)
class Counters:
    """Packets that the kernel dropped: since it started, or from one moment to another."""

    conntrack_drops: int | None = None  # by connection tracking, which had no room for their flows
    receive_errors: int | None = None  # UDP, at sockets whose receive buffers were full, or where memory was short
    capture_drops: int | None = None  # that the watch of the network interfaces missed: they went on their way
    listen_drops: int | None = None  # that would have opened TCP connections for which a port had no room; and
    # connections from the client's address that the server itself gave up for others
    slow_turns: int | None = None  # of the server's loop over its ports, which took so long that answers came late

    def since(self, earlier: Counters) -> Counters:
        """Return what was dropped since an earlier reading."""
        return Counters(**{name: _difference(count, getattr(earlier, name)) for name, count in vars(self).items()})


def _difference(now: int | None, earlier: int | None) -> int | None:
    # A counter that went back has passed its end or begun anew: how often it was counted, it does not tell.
    if now is None or earlier is None or now < earlier:
        return None
    return min(MAX_COUNT, now - earlier)


@dataclass(frozen=True)
class KernelStatus:
    """The kernel at one moment."""

    free_flows: int | None = None  # entries that connection tracking has room for; None where nothing limits them
    counters: Counters = Counters()
    rate: int | None = None  # probes a second that the server answers of each of many clients; None where there are few
