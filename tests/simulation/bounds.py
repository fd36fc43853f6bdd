"""What must hold of networks that are drawn anew in each run of the tests, whatever is drawn."""

from __future__ import annotations

from dataclasses import dataclass

# A sweep takes no longer than this but for what its client sleeps, which does not count.
MAX_SECONDS = 181.0


@dataclass(frozen=True)
class Bound:
    """A bound for a kind of networks: none is ever met by chance, as `python3 -m tests.simulation` has shown.

    `mostly_unknown` is in how many networks of three, at most, more than half of the ports may stay unknown: with the
    share of such networks among 1,700 of a long run, that is passed less than once in 100,000 runs. `seconds` is for
    any one network.
    """

    mostly_unknown: int
    seconds: float = MAX_SECONDS
    unknown: float = 1.0  # the share of a network's ports


BOUNDS = {
    # Nothing stands in the way of an answer; what takes longest is a shut server far away, with jitter: 29 s.
    "clean": Bound(0, seconds=60.0, unknown=0.0),
    # A third of all flows dead, or a fifth lost each way on a long path, takes more passes than there is time for.
    "loss": Bound(3),
    "bursts": Bound(2),
    # One of some hundred: two stalls of more than ten seconds look like a guard that shuts out again and again.
    "stall, rebinding or sleep": Bound(2),
    # Where all ports shut in the middle of a sweep, that is a guard for all that anybody can know.
    "changing rules": Bound(3),
    # A limit of 50 packets a second lets no 10,000 ports pass in three minutes.
    "policer": Bound(3),
    # A table of 1,024 flows, a guard that shuts out for ten minutes: the sweep waits, and often in vain.
    "flow table": Bound(3),
    "scan guard": Bound(3),
    "mixed": Bound(3),
}
# Where neither a table nor a guard stands in the way, one network in thirty stays mostly unknown; of eighteen, so many.
WITHOUT_TABLES = ("clean", "loss", "bursts", "stall, rebinding or sleep", "changing rules", "policer")
MOSTLY_UNKNOWN_WITHOUT_TABLES = 7
