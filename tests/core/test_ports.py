from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core.errors import UsageError
from agent.core.ports import PortRange, find_overlap, list_ports, parse_ports, port_ranges, port_set, ranges_by_value
from tests.core.values import ANY, PORTS, disjoint_runs

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535
LOWEST = 1


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("none", []),
        (" none ", []),
        ("80", [(80, 80)]),
        ("1,65535", [(1, 1), (65535, 65535)]),
        ("50000-60000", [(50000, 60000)]),
        ("443,80", [(80, 80), (443, 443)]),
        (" 80 , 7000-7010 ", [(80, 80), (7000, 7010)]),
        ("80,81", [(80, 80), (81, 81)]),
        ("5-5", [(5, 5)]),
        ("0080", [(80, 80)]),
        (",".join(map(str, range(1, 501))), [(port, port) for port in range(1, 501)]),
    ],
)
def test_what_users_may_write(text: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_ports(text) == tuple(PortRange(*ends) for ends in ranges)


@pytest.mark.parametrize(
    ("text", "piece", "why"),
    [
        ("", "''", "empty"),
        ("80,,443", "80,,443", "empty"),
        ("80,", "80,", "empty"),
        ("80,none", "'none'", "neither a port nor a range"),
        ("0", "'0'", "outside 1 to 65535"),
        ("80,70000", "'70000'", "outside 1 to 65535"),
        ("1-65536", "'1-65536'", "outside 1 to 65535"),
        ("9" * 10_000, "'" + "9" * 10_000 + "'", "outside 1 to 65535"),
        ("80,60000-50000", "'60000-50000'", "backwards"),
        ("-5", "'-5'", "neither"),
        ("1-2-3", "'1-2-3'", "neither"),
        ("1 - 2", "'1 - 2'", "neither"),
        ("8 0", "'8 0'", "neither"),
        ("+80", "'+80'", "neither"),
        ("1_000", "'1_000'", "neither"),
        ("80.0", "'80.0'", "neither"),
        ("https", "'https'", "neither"),
        ("80;443", "'80;443'", "neither"),
        ("٨٠", "'٨٠'", "neither"),
        ("8²", "'8²'", "neither"),
        ("80,80", "'80'", "has already"),
        ("1-100,50", "'50'", "has already"),
        ("5,1-5", "'5'", "has already"),
        (",".join(map(str, range(1, 502))), "501 items", "at most 500"),
    ],
)
def test_what_users_may_not_write_is_shown_to_them(text: str, piece: str, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_ports(text)
    assert piece in raised.value.message
    assert why in raised.value.message
    assert raised.value.hint


@ANY
@given(st.text("0123456789-, n"))
@example("0" * 5_000 + "80")
def test_any_text_is_ports_or_a_usage_error(text: str) -> None:
    try:
        ranges = parse_ports(text)
    except UsageError:
        return
    assert list(ranges) == sorted(ranges)


@ANY
@given(disjoint_runs())
def test_what_is_written_is_read_back(ranges: list[PortRange]) -> None:
    assert parse_ports(",".join(map(str, reversed(ranges))) or "none") == tuple(ranges)


@ANY
@given(st.lists(PORTS | st.integers(1, 9), max_size=30))
def test_runs_are_the_fewest_that_have_all_ports(ports: list[int]) -> None:
    joined = port_ranges(ports)
    assert [port for run in joined for port in run] == sorted(set(ports))
    assert all(before.last + 1 < after.first for before, after in zip(joined, joined[1:]))


@pytest.mark.parametrize("ends", [(0, 1), (2, 1), (1, 65536), (-1, -1)])
def test_a_run_out_of_bounds_cannot_be_made(ends: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a run of ports"):
        PortRange(*ends)


def test_a_run_has_its_ends_and_what_is_between() -> None:
    run = PortRange(LOWEST, HIGHEST)
    assert len(run) == 65535
    assert (run.first in run, run.last in run, 0 in run, 65536 in run, "80" in run) == (True, True, False, False, False)
    assert [PortRange(5, 7).overlaps(PortRange(*ends)) for ends in ((1, 4), (1, 5), (6, 6), (7, 9), (8, 9))] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_ports_as_people_read_them() -> None:
    assert (
        list_ports([PortRange(443, 443), PortRange(7000, 7010), PortRange(444, 450)], "tcp") == "443-450, 7000-7010/tcp"
    )
    lone = [PortRange(port, port) for port in range(2, 4000, 2)]
    assert list_ports(lone[:12], "udp") == "2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24/udp"
    assert list_ports(lone, "udp") == "2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24/udp and 1,987 more runs"


@ANY
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 5)).map(lambda ends: PortRange(ends[0], sum(ends)))))
def test_an_overlap_is_found(ranges: list[PortRange]) -> None:
    overlap = find_overlap(ranges)
    assert (overlap is not None) is (len(port_set(ranges)) < sum(map(len, ranges)))
    assert overlap is None or set(overlap[0]) & set(overlap[1])


@ANY
@given(st.dictionaries(st.integers(1, 20), st.sampled_from(("busy", "denied"))))
def test_ports_of_one_value_are_joined(values: dict[int, str]) -> None:
    rows = list(ranges_by_value(sorted(values.items())))
    assert {port: value for ports, value in rows for port in ports} == values
    assert all(one.last + 1 < other.first or value != next_value
               for (one, value), (other, next_value) in zip(rows, rows[1:]))  # fmt: skip
