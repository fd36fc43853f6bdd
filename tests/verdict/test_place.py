"""How far silent ports' probes came, with and without a path that loses some."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.observation import Observation, Reply, Where
from agent.core.plan import Transport
from agent.verdict.place import locate, locate_stretch

BEFORE, HOST, BACK, NOT_KNOWN = Where.BEFORE_SERVER, Where.SERVER_HOST, Where.RETURN_PATH, Where.UNKNOWN


def silent(**rest: Any) -> Observation:
    return Observation(Transport.UDP, 50000, **{"sent": 3, "reply": Reply.NOTHING, "answered": 0, **rest})


@pytest.mark.parametrize(
    ("counts", "missed", "where"),
    [
        ({}, False, NOT_KNOWN),
        ({"at_socket": 0}, False, NOT_KNOWN),
        ({"at_interface": 0, "at_socket": 0, "answers_sent": 0}, False, BEFORE),
        ({"at_interface": 0, "at_socket": 0, "answers_sent": 0}, True, NOT_KNOWN),
        ({"at_interface": 1, "at_socket": 0, "answers_sent": 0}, False, HOST),
        ({"at_interface": 1, "at_socket": 0, "answers_sent": 0}, True, HOST),
        ({"at_interface": 3, "at_socket": 3, "answers_sent": 0}, False, HOST),
        ({"at_interface": 3, "at_socket": 3, "answers_sent": 0}, True, BACK),
        ({"at_interface": 3, "at_socket": 3, "answers_sent": 1}, False, BACK),
        ({"at_socket": 3, "answers_sent": 0}, False, HOST),
        ({"at_socket": 3}, False, BACK),
    ],
)
def test_how_far_one_ports_probes_came(counts: dict[str, int], missed: bool, where: Where) -> None:
    assert locate(silent(**counts), missed) is where


# Three probes to each: x is a port whose probes the interface saw, . one whose probes it did not.
@pytest.mark.parametrize(
    ("seen", "loss", "expected"),
    [
        ("...xxx", 0.0, "bbbhhh"),
        ("xxx.xxx", 0.0, "hhhbhhh"),
        ("xxx.xxx", 0.2, "hhhhhhh"),  # 0.008: one in 125 such ports is lost three times
        ("xxx..xxx", 0.2, "hhhuuhhh"),  # 0.00006: not both by chance
        ("xxx...xxx", 0.2, "hhhubuhhh"),
        ("xxx..xxx", 0.5, "hhhhhhhh"),
        ("....xxx", 0.2, "bbbuhhh"),
        ("xxx....", 0.2, "hhhubbb"),
        ("xx....xx", 0.2, "hhubbuhh"),
        (".xxx.", 0.2, "hhhhh"),
        ("....", 0.2, "bbbb"),  # that they are shut at all rules chance out
        ("x.o", 0.2, "huo"),
        ("ooo.oo", 0.2, "oooooo"),
    ],
)
def test_loss_is_not_taken_for_a_firewall_before_the_server(seen: str, loss: float, expected: str) -> None:
    made = {"x": silent(at_interface=2, at_socket=0, answers_sent=0),
            ".": silent(at_interface=0, at_socket=0, answers_sent=0),
            "o": silent(at_interface=2, at_socket=2, answers_sent=2)}  # fmt: skip
    letters = {BEFORE: "b", HOST: "h", NOT_KNOWN: "u", BACK: "o"}
    assert "".join(letters[one] for one in locate_stretch([made[letter] for letter in seen], loss, False)) == expected
