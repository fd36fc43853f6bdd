"""The certificates of haproxy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.preflight import evaluate
from agent.preflight.model import Machine
from tests.preflight.values import (
    DAY,
    GOOD,
    INSTALLED,
    NOW,
    PLAN,
    results,
)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (-1, "has expired"),
        (0, "has expired"),
        (3600, "expires in 0 days"),
        (DAY, "expires in 1 day."),
        (14 * DAY - 1, "expires in 13 days"),
        (14 * DAY, ""),
    ],
)
def test_a_certificate_near_its_end(left: int, words: str) -> None:
    machine = Machine(NOW, certificates=(replace(GOOD, until=NOW + left),))
    notes = [
        one for one in evaluate.check_machine(machine, PLAN, INSTALLED).problems if one.code == "certificate-expiry"
    ]
    assert [words in note.what for note in notes] == [True] * bool(words)


@pytest.mark.parametrize(
    ("names", "wanted", "wrong"),
    [
        (("turn.example",), "turn.example", False),
        (("Turn.Example",), "turn.example.", False),
        (("*.example",), "turn.example", False),
        (("*.example",), "a.turn.example", True),
        (("*.example",), "example", True),
        (("meet.example",), "turn.example", True),
        ((), "turn.example", True),
        ((), None, False),
    ],
)
def test_the_name_of_a_certificate(names: tuple[str, ...], wanted: str | None, wrong: bool) -> None:
    machine = Machine(NOW, certificates=(replace(GOOD, names=names),))
    told = results(machine, replace(INSTALLED, turn_domain=wanted))
    assert told[0] == ["certificate-name"] * wrong
    assert ("certificates" in told[1]) is not wrong


def test_a_certificate_that_cannot_be_read_is_not_known() -> None:
    machine = Machine(
        NOW, errors={"/etc/haproxy/ssl/other.pem": "it holds no certificate that can be read", "clock": "none"}
    )
    assert (
        "certificates (/etc/haproxy/ssl/other.pem: it holds no certificate that can be read)"
        in results(machine, INSTALLED)[2]
    )
    expired = replace(machine, certificates=(replace(GOOD, until=0),))
    assert results(expired, INSTALLED)[0] == ["certificate-expiry"]
