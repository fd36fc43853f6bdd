"""Times in which nothing moves: a radio that sleeps, a link that is switched over, a client that is suspended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stall:
    """From `at` on, nothing passes for `seconds`, either way; it is `lost`, or it comes afterwards.

    Without `control`, the control channel does not notice; `one_way`, nor do packets to the client.
    """

    at: float
    seconds: float
    lost: bool = False
    control: bool = True
    one_way: bool = False

    @property
    def until(self) -> float:
        """When packets pass again."""
        return self.at + self.seconds


@dataclass(frozen=True)
class Sleep:
    """The client does not run from `at` on, but its clock does; what comes is `lost`, or waits in its buffer."""

    at: float
    seconds: float = 60.0
    lost: bool = True


def hold(stalls: tuple[Stall, ...], at: float, control: bool = False) -> float | None:
    """When a packet passes that comes at a time; None where it is lost."""
    for stall in stalls:
        if stall.at <= at < stall.until and (stall.control or not control):
            if stall.lost:
                return None
            at = stall.until
    return at
