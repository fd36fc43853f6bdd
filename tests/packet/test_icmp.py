from __future__ import annotations

import pytest

from agent.packet.icmp import describe_refusal, is_expired


@pytest.mark.parametrize(
    ("version", "kind", "code", "words"),
    [
        (4, 3, 0, "net unreachable"),
        (4, 3, 1, "host unreachable"),
        (4, 3, 2, "protocol unreachable"),
        (4, 3, 3, "port unreachable"),
        (4, 3, 9, "net administratively prohibited"),
        (4, 3, 10, "host administratively prohibited"),
        (4, 3, 13, "communication administratively prohibited"),
        (4, 3, 15, "precedence cutoff in effect"),
        (4, 3, 77, "destination unreachable"),
        (4, 11, 0, "time to live exceeded"),
        (4, 12, 1, "parameter problem"),
        (6, 1, 0, "no route to destination"),
        (6, 1, 1, "administratively prohibited"),
        (6, 1, 3, "address unreachable"),
        (6, 1, 4, "port unreachable"),
        (6, 1, 5, "source address failed a policy"),
        (6, 1, 6, "reject route"),
        (6, 1, 7, "destination unreachable"),
        (6, 3, 0, "hop limit exceeded"),
        (6, 4, 0, "parameter problem"),
    ],
)
def test_a_refusal_in_words(version: int, kind: int, code: int, words: str) -> None:
    assert describe_refusal(version, kind, code) == f"{words} (type {kind}, code {code})"


@pytest.mark.parametrize(
    ("version", "kind", "code"),
    [(4, 3, 4), (4, 4, 0), (4, 5, 0), (4, 11, 1), (4, 11, 2), (4, 0, 0), (6, 2, 0), (6, 3, 1), (6, 11, 0), (6, 128, 0)],
)
def test_what_refuses_nothing(version: int, kind: int, code: int) -> None:
    assert describe_refusal(version, kind, code) is None


def test_only_one_error_of_each_version_says_that_a_packet_expired() -> None:
    expired = [(version, kind, code) for version in (4, 6) for kind in range(256) for code in range(256)
               if is_expired(version, kind, code)]  # fmt: skip
    assert expired == [(4, 11, 0), (6, 3, 0)]
