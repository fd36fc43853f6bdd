"""Sessions: who may open one, what each is told of itself and gets of what all share."""

from __future__ import annotations

import ipaddress

import pytest

from agent.core.address import Family
from agent.core.counters import Counters, KernelStatus
from agent.core.events import ClientLost, SessionStarted
from agent.core.observation import Reason
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.protocol import messages, stun
from agent.protocol.messages import AskRows, PortTable
from tests.server.memory import (
    CLIENT,
    SOURCE,
    STRANGER,
    TCP,
    UDP,
    MemoryServer,
    make_session,
    probe,
    told,
)

# Limits, by their numbers: who changes one changes it here too.
MAX_ROWS = 1500
FEW_SESSIONS = 4
MAX_SESSIONS = 64
MAX_UNPAIRED = 16
PROBES_A_SECOND = 10_000


def test_sessions_are_few_and_of_their_own() -> None:
    server = MemoryServer()
    opened = [make_session(server, secret=f"{number:064x}") for number in range(MAX_SESSIONS)]
    assert len({session.id for session in opened} | {session.key.decode() for session in opened}) == 2 * MAX_SESSIONS
    assert server.open(CLIENT, Family.IPV4, secret="f" * 64) is None
    assert server.registry.refusal_reason(CLIENT, paired=True) == f"{MAX_SESSIONS} checks are running already"
    server.close(opened[0])
    assert server.probe(probe(opened[0]), SOURCE, UDP, 50000) is None
    assert server.open(CLIENT, Family.IPV4)


def test_where_services_go_on_running_there_is_one_session_at_a_time() -> None:
    server = MemoryServer(live=True)
    only = make_session(server)
    assert server.open(STRANGER, Family.IPV6, secret="0" * 64) is None
    assert "one at a time" in server.registry.refusal_reason(STRANGER, paired=True)
    server.close(only)
    assert server.open(STRANGER, Family.IPV6)


NETWORKS = [
    ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
    ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
]


@pytest.mark.parametrize(("stranger", "same_network", "other_network"), NETWORKS)
def test_an_address_without_a_key_has_few_sessions_and_others_have_room(
    stranger: str, same_network: str, other_network: str
) -> None:
    server = MemoryServer()
    first, same, another = map(ipaddress.ip_address, (stranger, same_network, other_network))
    opened = [server.open(first, Family.IPV4) for _ in range(MAX_UNPAIRED)]
    assert all(opened)
    assert server.open(same, Family.IPV4) is None
    assert "without a pairing key" in server.registry.refusal_reason(same, paired=False)
    assert server.open(same, Family.IPV4, secret="0" * 64)
    assert server.open(another, Family.IPV4)
    assert opened[0]
    server.close(opened[0])
    assert server.open(same, Family.IPV4)


def test_only_a_paired_client_is_told_who_holds_ports() -> None:
    server = MemoryServer()
    names = dict.fromkeys(range(50000, 50000 + 2 * messages.MAX_OWNERS, 2), "n" * (messages.MAX_TEXT + 1))
    server.set_ports(owners={TCP: {80: "haproxy (pid 812)"}, UDP: names})
    stranger, friend = make_session(server), make_session(server, secret="0" * 64)
    assert told(server, stranger, PortTable.OWNERS, TCP) == told(server, stranger, PortTable.OWNERS, UDP) == {}
    assert told(server, friend, PortTable.OWNERS, TCP) == {"80": "haproxy (pid 812)"}
    owners = told(server, friend, PortTable.OWNERS, UDP)
    assert set(owners.values()) == {"n" * messages.MAX_TEXT}
    assert len(owners) == messages.MAX_OWNERS


def test_what_happened_is_told_once() -> None:
    server = MemoryServer()
    lost, finished = make_session(server), make_session(server)
    finished.finished = True
    for session in (lost, finished):
        server.close(session)
    assert server.take_events() == [SessionStarted(CLIENT), SessionStarted(CLIENT), ClientLost(CLIENT)]
    assert server.take_events() == []


def test_each_session_has_the_kernel_of_its_own_beginning() -> None:
    begun = KernelStatus(7600, Counters(5, None)), KernelStatus(3, Counters(5, 2))
    server = MemoryServer(kernel=[*begun, KernelStatus(None, Counters(7, 2)), KernelStatus(9, Counters(1, 4))])
    first, second = make_session(server), make_session(server)
    assert (first.at_start.kernel.free_flows, second.at_start.kernel.free_flows) == (7600, 3)
    assert server.kernel(first) == KernelStatus(None, Counters(2, None))
    assert server.kernel(second).counters == Counters(None, 2)  # one of them began anew


def test_each_session_is_told_of_its_share_of_the_flows() -> None:
    plan = Plan("small", (Requirement(UDP, PortRange(50000, 50099), "media", Need.REQUIRED),))
    server = MemoryServer(plan, kernel=[KernelStatus(1000)] * 8)
    first = make_session(server)
    second = make_session(server)
    assert (first.flow_quota, second.flow_quota) == (1000, (1000 - 500 - 100) // 2 * 2 + 1)
    # Each may make half of the most that it was told, less what it has made: a half of 500 now.
    assert server.kernel(first).free_flows == 750
    assert server.kernel(second).free_flows == second.flow_quota == 500
    for port in range(50000, 50100):
        server.probe(probe(first, port), SOURCE, UDP, port)
    third = make_session(server)
    assert third.flow_quota == (1000 - 500 - 100) // 3 * 2 + 1  # the second one's flows are still to come
    server.close(second)
    server.close(third)
    assert (server.kernel(first).free_flows, first.flow_quota) == (1000, 1000)


def test_a_server_that_knows_no_kernel_tells_nothing() -> None:
    server = MemoryServer()
    session = make_session(server)
    assert (session.at_start.kernel.free_flows, server.kernel(session)) == (None, KernelStatus())


def test_a_servers_sessions_have_a_tag_in_common_and_no_two_an_id() -> None:
    drawn = iter([b"\1\2\3\4", bytes(4), bytes(32), bytes(4), b"\0\0\0\1", bytes(32)])
    server = MemoryServer(random_bytes=lambda _: next(drawn))
    assert [make_session(server).id, make_session(server).id] == ["0102030400000000", "0102030400000001"]
    assert stun.has_tag(probe(server.sessions["0102030400000001"]), server.core.tag)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (5, []),  # no buffer was full: filters dropped all of it
        (6, [("50001", 3), ("50003", 1)]),
        (None, [("50001", 3), ("50003", 1)]),
    ],
)
def test_what_sockets_did_not_take_is_told_of_the_session_alone(
    errors: int | None, told: list[tuple[str, int]]
) -> None:
    kernels = [KernelStatus(counters=Counters(receive_errors=count)) for count in (5, errors)]
    server = MemoryServer(kernel=kernels, receive_drops=[{50001: 2, 50002: 9}, {50001: 5, 50002: 9, 50003: 1}])
    rows = server.rows(make_session(server), AskRows(PortTable.RECEIVE_DROPS, UDP, 1)).rows
    assert [(str(ports), count) for ports, count in rows] == told


def asked(about: PortTable, transport: Transport = UDP, start: int = 1) -> list[tuple[str, int | str]]:
    """What a client is told after a redirected probe, two that came in, and a connect."""
    server = MemoryServer()
    busy = {50005: Reason.BUSY, 50006: Reason.BUSY, 50007: Reason.LIMIT}
    server.set_ports(untested={Family.IPV6: {UDP: {60000: Reason.DENIED}}, Family.IPV4: {UDP: busy}})
    session = make_session(server)
    for port in (50003, 50001, 50002, 50002):
        server.probe(probe(session, port), SOURCE, UDP, 50003)
    server.connect()
    page = server.rows(session, AskRows(about, transport, start))
    assert page.next is None
    return [(str(ports), value) for ports, value in page.rows]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (asked(PortTable.SIGHTINGS), [("50001", 1), ("50002", 2), ("50003", 1)]),
        (asked(PortTable.SIGHTINGS, start=50002), [("50002", 2), ("50003", 1)]),
        (asked(PortTable.SIGHTINGS, TCP), []),
        (asked(PortTable.REDIRECTED), [("50001-50002", 50003)]),
        (asked(PortTable.CONNECTIONS, TCP), [("80", 1)]),
        (asked(PortTable.CONNECTIONS), []),
        (asked(PortTable.UNTESTED), [("50005-50006", "busy"), ("50007", "limit")]),
        (asked(PortTable.UNTESTED, TCP), []),
    ],
)
def test_a_client_learns_of_its_own_probes_in_runs(
    rows: list[tuple[str, int | str]], expected: list[tuple[str, int | str]]
) -> None:
    assert rows == expected


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1, 2 * MAX_ROWS, 2 * MAX_ROWS + 1])
def test_more_runs_than_a_page_holds_are_read_in_pages(count: int) -> None:
    server = MemoryServer()
    session = make_session(server)
    ports = range(50000, 50000 + 2 * count, 2)
    session.sightings[UDP].update(dict.fromkeys(ports, 1))
    read: list[int] = []
    start: int | None = 1
    pages = 0
    while start:
        page = server.rows(session, AskRows(PortTable.SIGHTINGS, UDP, start))
        assert len(page.rows) <= MAX_ROWS
        read += [port for run, _ in page.rows for port in run]
        start, pages = page.next, pages + 1
    assert read == list(ports)
    assert pages == -(-count // MAX_ROWS)


def test_a_run_is_not_cut_by_a_page() -> None:
    server = MemoryServer()
    session = make_session(server)
    session.sightings[UDP].update({**dict.fromkeys(range(50000, 60001), 1), 55000: 2})
    page = server.rows(session, AskRows(PortTable.SIGHTINGS, UDP, 1))
    assert [(str(run), value) for run, value in page.rows] == [("50000-54999", 1), ("55000", 2), ("55001-60000", 1)]


def test_of_many_sessions_each_is_told_its_share_of_the_servers_time() -> None:
    server = MemoryServer()
    sessions = [make_session(server) for _ in range(FEW_SESSIONS)]
    assert server.kernel(sessions[0]).rate is None
    another = make_session(server)
    assert {server.kernel(one).rate for one in (*sessions, another)} == {PROBES_A_SECOND // (FEW_SESSIONS + 1)}
    server.close(another)
    assert server.kernel(sessions[0]).rate is None


def test_who_holds_many_sessions_leaves_the_others_no_less() -> None:
    server = MemoryServer(kernel=[KernelStatus(64_000)] * 30)
    mine = make_session(server)
    theirs = [make_session(server, client=STRANGER) for _ in range(7)]
    assert server.kernel(mine).rate == PROBES_A_SECOND // 2
    assert {server.kernel(one).rate for one in theirs} == {PROBES_A_SECOND // 14}
    assert server.kernel(mine).free_flows == 16_000 + 32_000  # half of what all may make, and what it was told of alone
