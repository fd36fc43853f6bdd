from __future__ import annotations

import random
from typing import Iterable

import pytest

from agent.verdict.refusal import extend, ports_to_ask, too_close, too_long

# Limits, by their numbers: who changes one changes it here too.
MAX_ASKED = 20

NEAR, FAR = "192.0.2.1", "192.0.2.2"


def told(ports: int, by: dict[str, Iterable[int]]) -> list[str | None]:
    """A stretch of so many ports, of which some told by whom they are refused."""
    stretch: list[str | None] = [None] * ports
    for refuser, numbers in by.items():
        for number in numbers:
            stretch[number] = refuser
    return stretch


def spans(refused: list[str | None]) -> list[tuple[int, int, str]]:
    """The runs of ports that somebody refuses: first, last, by whom."""
    found: list[tuple[int, int, str]] = []
    for number, one in enumerate(refused):
        if one and found and found[-1][1:] == (number - 1, one):
            found[-1] = (found[-1][0], number, one)
        elif one:
            found.append((number, number, one))
    return found


def every(first: int, last: int, step: int) -> range:
    return range(first, last + 1, step)


@pytest.mark.parametrize(
    ("what", "stretch", "expected"),
    [
        ("nobody told", told(300, {}), []),
        ("no ports", [], []),
        ("one that told stands for itself alone", told(300, {NEAR: [140]}), [(140, 140, NEAR)]),
        ("two told for a few", told(4, {NEAR: [0, 2]}), [(0, 3, NEAR)]),
        ("ten of a thousand told", told(1000, {NEAR: every(40, 940, 100)}), [(0, 999, NEAR)]),
        ("all told", told(300, {NEAR: range(300)}), [(0, 299, NEAR)]),
        ("a long silence before", told(1000, {NEAR: every(700, 990, 20)}), [(700, 999, NEAR)]),
        ("a long silence behind", told(1000, {NEAR: every(10, 300, 20)}), [(0, 290, NEAR)]),
        ("a long silence within", told(1000, {NEAR: [*every(0, 290, 10), *every(700, 990, 10)]}),
         [(0, 290, NEAR), (700, 999, NEAR)]),
        ("one far from many", told(1000, {NEAR: [*every(0, 290, 10), 900]}), [(0, 290, NEAR), (900, 900, NEAR)]),
        ("silences of two sizes", told(1000, {NEAR: [*range(20), *range(40, 60), *range(500, 520)]}),
         [(0, 19, NEAR), (40, 59, NEAR), (500, 519, NEAR)]),
        ("an island", told(1000, {NEAR: [500, 505, 510, 515, 530, 540]}), [(500, 540, NEAR)]),
        ("two neighbours, which chance may have drawn", told(1000, {NEAR: [500, 501]}), [(0, 999, NEAR)]),
        ("two refuse", told(300, {NEAR: every(5, 95, 10), FAR: every(206, 296, 10)}),
         [(0, 150, NEAR), (151, 299, FAR)]),
        ("another told once within", told(300, {NEAR: every(0, 140, 10), FAR: [151], "x": every(160, 299, 10)}),
         [(0, 145, NEAR), (151, 151, FAR), (156, 299, "x")]),
    ],
)  # fmt: skip
def test_who_refuses_a_stretch(what: str, stretch: list[str | None], expected: list[tuple[int, int, str]]) -> None:
    assert spans(extend(stretch)) == expected


@pytest.mark.drawn
@pytest.mark.parametrize("ends", [[], [0], [-1], [0, -1]])
def test_chance_hardly_ever_splits_what_one_refuses(ends: list[int]) -> None:
    """The ends of the plan's ranges are tried before all others, so they tell whatever chance draws."""
    chance, split, draws = random.Random(1), 0, 20_000
    for _ in range(draws):
        ports = chance.choice((50, 200, 1000))
        drawn = chance.sample(range(1, ports - 1), 6 - len(ends) if chance.random() < 0.7 else chance.randint(2, 40))
        split += spans(extend(told(ports, {NEAR: [*drawn, *(end % ports for end in ends)]}))) != [(0, ports - 1, NEAR)]
    assert split <= draws * 3e-5


@pytest.mark.parametrize("many", [20, 50, 200])
def test_a_silent_half_is_not_joined_to_a_half_that_many_told_of(many: int) -> None:
    drawn = random.Random(many).sample(range(500), many)
    (first, last, _), *others = spans(extend(told(1000, {NEAR: drawn})))
    assert (first, last, others) == (0, max(drawn), [])


def test_a_whole_transports_worth_of_silences_ends_in_time() -> None:
    stretch = told(65535, {NEAR: [port for port in range(65535) if port % 100 < 50]})
    assert len(spans(extend(stretch))) > 500


def test_a_gap_is_too_long_from_where_chance_does_not_make_it() -> None:
    assert not too_long(0, 2, 2)
    assert not too_long(81, 100, 8)
    assert too_long(82, 100, 8)


def test_an_island_is_too_small_from_where_chance_does_not_make_it() -> None:
    assert not too_close(4, 100, 5)
    assert too_close(3, 100, 5)


@pytest.mark.parametrize(
    ("silent", "asked"),
    [
        ([], []),
        ([7], [7]),
        ([5, 6, 9], [5, 6, 9]),
        (range(100, 291), [*range(100, 290, 10), 290]),
    ],
)  # fmt: skip
def test_the_ports_ports_to_ask_again(silent: Iterable[int], asked: list[int]) -> None:
    assert ports_to_ask(silent) == asked


def test_of_many_runs_the_longest_are_asked_at_both_ends() -> None:
    silent = [port for port in range(1, 5000) if port % 50 > 10] + list(range(6000, 6100))
    asked = ports_to_ask(silent)
    assert len(asked) <= MAX_ASKED
    assert {6000, 6099} <= set(asked) <= set(silent)
