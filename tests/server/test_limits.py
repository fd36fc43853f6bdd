"""What limits what a client costs: how often, how many flows, which probes and addresses are answered."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.events import ClientLost, Event, EventsSuppressed, ReportReceived
from agent.core.report import Report, Verdict
from agent.server.limits import UNPROVEN_ANSWERS, FlowQuota, Notices, ReplayWindow, SourceValidator, TokenBucket
from agent.sweep.flows import FlowBudgets
from tests.core.values import ANY


def test_many_at_once_and_then_as_fast_as_the_rate_lets() -> None:
    ration = TokenBucket(3, 2.0)
    assert [ration.consume(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert [ration.consume(10.4), ration.consume(10.5), ration.consume(10.6)] == [False, True, False]
    assert [ration.consume(1000.0) for _ in range(5)] == [True, True, True, False, False]


def test_of_too_many_events_the_operator_is_told_how_many_there_were() -> None:
    told: list[Event] = []
    notices, here = Notices(told.append), ipaddress.ip_address("192.0.2.1")
    report = ReportReceived(here, Report("0.1.0", "2026-01-31T12:00:00Z", 3.2, "meet.example", "mine", Verdict.PASS))
    assert sum(notices.admit(ClientLost(here), 1.0) for _ in range(153)) == 150
    assert sum(notices.admit(report, 1.0) for _ in range(66)) == 64  # reports have room of their own
    notices.emit_withheld(1.0)
    assert told == []
    for now in (1.2, 1.4):
        notices.emit_withheld(now)
    assert told == [EventsSuppressed(5)]


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


class Client:
    """One that makes as many flows as it may, at a server whose table has so many entries."""

    def __init__(self, quota: FlowQuota, free: int, sessions: int, promised: int) -> None:
        told = quota.at_start(free, sessions, promised)
        assert told is not None
        self.quota, self.most, self.budgets, self.made = quota, told, FlowBudgets(told), 0

    def make(self, wanted: int) -> None:
        left = self.budgets.available(wanted, 0.0)
        self.budgets.spend(left, 0.0)
        self.made += left

    def ask(self, free: int, sessions: int) -> None:
        told = self.quota.later(free, sessions, self.most)
        assert told is not None
        self.most = max(self.most, told)
        self.budgets.on_free_flows(told, 0.0)


def test_one_session_is_told_all_that_is_free() -> None:
    for free in (0, 1, 2, 7, 7600):
        quota = FlowQuota()
        told = quota.at_start(free, 1, 0)
        assert [told, *(quota.later(left, 1, told) for left in range(free + 1))] == [free, *range(free + 1)]


def test_nobody_is_told_of_what_nothing_limits() -> None:
    quota = FlowQuota()
    assert (quota.at_start(None, 1, 0), quota.later(None, 1, 5), quota.later(5, 1, None)) == (None, None, None)


@pytest.mark.parametrize("size", [1000, 1001, 50_000, 262_144])
@pytest.mark.parametrize("wanted", [30, 500, 10_000])
@pytest.mark.parametrize("sessions", [2, 3, 50])
def test_many_sessions_make_half_of_the_flows_that_were_free(size: int, wanted: int, sessions: int) -> None:
    quota, clients = FlowQuota(), list[Client]()

    def free() -> int:
        return size - sum(one.made for one in clients)

    for number in range(1, sessions + 1):  # all begin before any has made one
        clients.append(Client(quota, size, number, sum(min(one.most // 2, wanted) for one in clients)))
    for _ in range(20):
        for one in clients:
            one.make(wanted - one.made)
        now = free()
        for one in clients:  # all ask before any goes on
            one.ask(now, sessions)
    made = [one.made for one in clients]
    assert sum(made) <= size // 2 + sessions  # each may make one to begin with
    if sessions * wanted < 0.99 * size / 2:
        assert made == [wanted] * sessions
    else:
        assert sum(made) > 0.95 * size / 2 - sessions


def test_whoever_comes_first_does_not_keep_more_than_others_once_there_is_room() -> None:
    quota = FlowQuota()
    clients = [Client(quota, 1000, number + 1, 500 if number else 0) for number in range(5)]
    clients[0].make(10_000)
    assert [one.budgets.smallest for one in clients] == [500, 1, 1, 1, 1]
    for free, each in ((500, 0), (600, 20), (1000, 100)):
        for one in clients:
            one.ask(free, 5)
        assert [one.budgets.available(10_000, 0.0) for one in clients] == [each] * 5
    for one in clients[:2]:
        one.ask(1000, 2)  # the others ended
    assert [one.budgets.available(10_000, 0.0) for one in clients[:2]] == [250, 250]


NUMBERS = 65_536
HIGHEST = 2**32 - 1

# Steps from one number to the next: mostly on, at times back, or as far as the window reaches, or further.
STEPS = st.lists(
    st.integers(-20, 20)
    | st.integers(NUMBERS - 20, NUMBERS + 20)
    | st.integers(-NUMBERS - 20, -NUMBERS + 20)
    | st.integers(-HIGHEST, HIGHEST)
)


def oldest(newest: int) -> int:
    """The oldest number that is accepted after this one: of the block before its own."""
    return (newest // NUMBERS - 1) * NUMBERS


@ANY
@given(STEPS, st.integers(0, HIGHEST))
def test_a_number_is_accepted_once_and_only_while_it_is_not_too_old(steps: list[int], number: int) -> None:
    window, taken = ReplayWindow(), {0}
    for step in (0, *steps):
        number = min(max(number + step, 0), HIGHEST)
        accepted = number not in taken and number >= oldest(max(taken))
        assert window.accept(number) == accepted
        taken |= {number} if accepted else set()


def test_it_reaches_back_as_far_as_it_says() -> None:
    for highest in (NUMBERS, NUMBERS + 7, 5 * NUMBERS + 4, 5 * NUMBERS - 1):
        window = ReplayWindow()
        assert window.accept(highest)
        fresh = [number for number in range(max(1, highest - 3 * NUMBERS), highest) if window.accept(number)]
        assert fresh == list(range(max(1, oldest(highest)), highest))
        assert NUMBERS - 1 <= len(fresh) < 2 * NUMBERS


def test_its_memory_does_not_grow() -> None:
    window = ReplayWindow()
    for number in (1, NUMBERS - 1, NUMBERS, 3 * NUMBERS + 5, HIGHEST, HIGHEST - NUMBERS + 8):
        window.accept(number)
        assert sum(map(len, window._accepted.values())) <= 2 * NUMBERS // 8
