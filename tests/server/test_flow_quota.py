"""The free entries of the server's connection tracking, shared out among sessions."""

from __future__ import annotations

import pytest

from agent.server.limits import FlowQuota
from agent.sweep.flows import FlowBudgets


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
