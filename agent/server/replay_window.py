"""Which of a session's numbered probes are fresh: a sliding window over their numbers (RFC 6479)."""

from __future__ import annotations

# A client sends 20,000 probes a second at most, and what is answered after 3 s counts as lost anyway: an older probe
# that was held up so long needs no answer. It takes 8 KiB a session, in blocks of eight numbers.
BLOCKS = 8192


class ReplayWindow:
    """The numbers that came, of the last 65,536 up to the highest, give or take a block."""

    def __init__(self) -> None:
        self._last = 0  # the highest number's block
        self._accepted = bytearray(BLOCKS)
        self.accept(0)  # which is nobody's

    def accept(self, number: int) -> bool:
        """Return whether a number, from 0 on, comes for the first time and is not too old; then it counts as come."""
        block, bit = number >> 3, 1 << (number & 7)
        if block > self._last:
            self._move(block)
        elif block <= self._last - BLOCKS:
            return False
        place = block % BLOCKS
        if self._accepted[place] & bit:
            return False
        self._accepted[place] |= bit
        return True

    def _move(self, block: int) -> None:
        """Forget what stood where the blocks up to this one come to stand."""
        begin, blocks = (self._last + 1) % BLOCKS, min(block - self._last, BLOCKS)
        behind = max(0, begin + blocks - BLOCKS)  # what goes on at the other end
        self._accepted[begin : begin + blocks] = bytes(blocks - behind)
        self._accepted[:behind] = bytes(behind)
        self._last = block
