from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.server.limits import BLOCKS, ReplayWindow
from tests.core.values import ANY

SIZE = 8 * BLOCKS
HIGHEST = 2**32 - 1

# Steps from one number to the next: mostly on, at times back, or as far as the window reaches, or further.
STEPS = st.lists(
    st.integers(-20, 20)
    | st.integers(SIZE - 20, SIZE + 20)
    | st.integers(-SIZE - 20, -SIZE + 20)
    | st.integers(-HIGHEST, HIGHEST)
)


@ANY
@given(STEPS, st.integers(0, HIGHEST))
def test_a_number_is_accepted_once_and_only_while_it_is_not_too_old(steps: list[int], number: int) -> None:
    window, taken = ReplayWindow(), {0}
    for step in (0, *steps):
        number = min(max(number + step, 0), HIGHEST)
        oldest = (max(taken) // 8 - BLOCKS + 1) * 8
        assert window.accept(number) == (number not in taken and number >= oldest)
        if number >= oldest:
            taken.add(number)


def test_it_reaches_back_as_far_as_it_says() -> None:
    for highest in (SIZE, SIZE + 7, 5 * SIZE + 4):
        window = ReplayWindow()
        assert window.accept(highest)
        fresh = [number for number in range(max(1, highest - 2 * SIZE), highest) if window.accept(number)]
        assert fresh == list(range(fresh[0], highest))
        assert SIZE - 8 < highest - fresh[0] + 1 <= SIZE


def test_its_memory_does_not_grow() -> None:
    window = ReplayWindow()
    for number in (1, SIZE - 1, SIZE, 3 * SIZE + 5, HIGHEST, HIGHEST - SIZE + 8):
        window.accept(number)
        assert len(window._accepted) == BLOCKS
