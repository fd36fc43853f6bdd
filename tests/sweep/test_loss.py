from __future__ import annotations

import random

import pytest

from agent.sweep.loss import LossTally, lower_bound, pooled, upper_bound

# The limits, by their numbers.
BLOCK = 10


# Wilson's score interval at 95 %, upper end, as any statistics package gives it.
@pytest.mark.parametrize(
    ("lost", "sent", "bound"),
    [
        (0, 0, 1.0), (0, 1, 0.7935), (1, 1, 1.0), (0, 10, 0.2775), (1, 10, 0.4042), (5, 10, 0.7634),
        (0, 100, 0.0370), (10, 100, 0.1744), (0, 400, 0.0095), (400, 400, 1.0), (2.5, 10, 0.5578),
    ],
)  # fmt: skip
def test_the_loss_at_most(lost: float, sent: float, bound: float) -> None:
    assert upper_bound(lost, sent) == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize(("answered", "sent", "bound"), [(0, 0, 0.0), (10, 10, 0.7225), (90, 100, 0.8256), (0, 10, 0)])
def test_the_share_of_answers_at_least(answered: float, sent: float, bound: float) -> None:
    assert lower_bound(answered, sent) == pytest.approx(bound, abs=1e-4)


def tally(*fates: int) -> LossTally:
    """Canaries of which those with a 1 were answered, whatever the order in which the answers came."""
    made = LossTally()
    numbers = [made.on_sent() for _ in fates]
    for number in reversed(numbers):
        if fates[number]:
            made.on_answer(number)
    return made


def test_a_canary_is_lost_until_its_answer_comes() -> None:
    made = LossTally()
    assert (made.sent, made.lost, made.bound) == (0, 0, 1.0)
    assert [made.on_sent(), made.on_sent(), made.on_sent()] == [0, 1, 2]
    assert (made.sent, made.lost) == (3, 3)
    made.on_answer(1)
    assert (made.sent, made.lost) == (3, 2)


@pytest.mark.parametrize("fates", [(1,) * 100, (0,) * 100, (0, 1), (1, 0, 1, 1, 0, 1, 1, 1, 0, 1)])
def test_canaries_of_one_fate_or_of_one_block_tell_nothing_of_bursts(fates: tuple[int, ...]) -> None:
    assert tally(*fates).bound == upper_bound(fates.count(0), len(fates))


def test_loss_that_is_spread_evenly_makes_the_bound_no_better_than_chance_has_it() -> None:
    assert tally(*(0, *[1] * 9) * 10).bound == upper_bound(10, 100)


def test_a_lost_block_counts_as_one_canary() -> None:
    lost = [0] * BLOCK
    made = tally(*[1] * 70, *lost, *[1] * 20)
    assert made.bound == pytest.approx(upper_bound(1, 10))
    assert made.bound > 2 * upper_bound(10, 100)


def test_half_lost_blocks_count_by_how_alike_they_are() -> None:
    # Two blocks lose half, eight nothing: ((5 - 1)^2 * 2 + 1 * 8) / 10 / 0.09 / 9.
    made = tally(*[1] * 40, *[0] * 5, *[1] * 5, *[0] * 5, *[1] * 45)
    alike = 40 / 10 / (0.1 * 0.9) / 9
    assert made.bound == pytest.approx(upper_bound(10 / alike, 100 / alike))


def test_a_last_block_that_is_not_full_counts_by_its_size() -> None:
    # Ten of ten answered, five of five lost.
    assert tally(*[1] * 10, *[0] * 5).bound == pytest.approx(upper_bound(0.5, 1.5))


@pytest.mark.parametrize(("loss", "bursts"), [(0.1, False), (0.3, False), (0.1, True), (0.3, True)])
def test_the_bound_holds_in_about_39_of_40_passes_in_bursts_too(loss: float, bursts: bool) -> None:
    chance = random.Random(4)
    below = 0
    for _ in range(400):
        fates: list[int] = []
        while len(fates) < 400:
            fates += [int(chance.random() >= loss)] * (10 if bursts else 1)
        below += tally(*fates).bound < loss
    assert below <= 28


def test_several_passes_together() -> None:
    assert pooled([]) == 1.0
    assert pooled([LossTally()]) == 1.0
    assert pooled([tally(1, 1, 0), LossTally(), tally(1, 0)]) == upper_bound(2, 5)
