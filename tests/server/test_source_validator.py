from __future__ import annotations

import ipaddress
import random

from agent.server.limits import UNPROVEN_ANSWERS, SourceValidator

# Limits, by their numbers: who changes one changes it here too.
MAX_SOURCES = 64

ONE, OTHER = ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::7")
draw = random.Random(1).randbytes


def noted(*addresses: ipaddress.IPv4Address | ipaddress.IPv6Address) -> SourceValidator:
    sources = SourceValidator()
    for address in addresses:
        sources.observe(address, draw)
    return sources


def test_no_answer_leaves_for_an_address_before_it_is_confirmed() -> None:
    sources = noted(ONE, OTHER, ONE)
    assert (sources.nonce_for(ONE), sources.nonce_for(OTHER)) == (None, None)
    assert list(sources.unconfirmed) == [str(ONE), str(OTHER)]
    sources.confirm([str(OTHER)], [])
    assert sources.nonce_for(ONE) is None
    assert sources.nonce_for(OTHER)
    assert list(sources.unconfirmed) == [str(ONE)]


def test_only_what_probes_came_from_can_be_confirmed() -> None:
    sources = noted(ONE)
    sources.confirm([str(OTHER)], [])
    assert sources.nonce_for(OTHER) is None
    sources.observe(OTHER, draw)
    assert sources.nonce_for(OTHER) is None


def test_answers_are_few_until_the_client_shows_that_he_gets_them() -> None:
    sources = noted(ONE, OTHER)
    sources.confirm(map(str, (ONE, OTHER)), ["0" * 12])
    nonces = [sources.nonce_for(OTHER), *(sources.nonce_for(ONE) for _ in range(UNPROVEN_ANSWERS))]
    assert len(set(nonces[:-1])) == 2
    assert all(nonces[:-1])
    assert nonces[-1] is None
    sources.confirm([], [nonces[1] or ""])
    assert [sources.nonce_for(ONE) for _ in range(UNPROVEN_ANSWERS)] == [""] * UNPROVEN_ANSWERS
    assert sources.nonce_for(OTHER) is None


def test_a_nonce_of_an_address_that_is_not_confirmed_proves_nothing() -> None:
    sources = SourceValidator()
    sources.observe(ONE, bytes)
    sources.confirm([], ["0" * 12])
    sources.confirm([str(ONE)], [])
    assert sources.nonce_for(ONE) == "0" * 12


def test_more_addresses_than_a_client_has_are_not_kept() -> None:
    addresses = [ONE + number for number in range(MAX_SOURCES + 3)]
    sources = noted(*addresses)
    assert sources.unconfirmed == tuple(map(str, addresses[:MAX_SOURCES]))
    sources.confirm(map(str, addresses), [])
    assert [bool(sources.nonce_for(one)) for one in addresses] == [True] * MAX_SOURCES + [False] * 3
