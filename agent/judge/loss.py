"""How sure a silence is: the path's loss as the canaries measured it, and what that makes of several tries."""

from __future__ import annotations

import math

# `filtered` needs this: over the whole check, the expected number of open ports that loss alone kept silent.
MAX_CHANCE = 1e-3
# Standard deviations of the Wilson bound: the loss is higher than the bound in one pass of forty.
WILSON_Z = 1.96


def upper_bound(lost: int, sent: int) -> float:
    """The upper end of Wilson's score interval for `lost` out of `sent`, 0 < result <= 1; 1.0 for nothing sent."""
    if not sent:
        return 1.0
    share, square = lost / sent, WILSON_Z**2
    middle = share + square / (2 * sent)
    margin = WILSON_Z * math.sqrt(share * (1 - share) / sent + square / (4 * sent**2))
    return min(1.0, (middle + margin) / (1 + square / sent))
