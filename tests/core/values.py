"""Values for hypothesis to draw: everything that the two sides and the report can speak of, and JSON gone wrong."""

from __future__ import annotations

import copy
from typing import Any, Iterator

from hypothesis import settings
from hypothesis import strategies as st

from agent.core.address import Address, Family, parse_address
from agent.core.observation import Interceptor, Reason, Where
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import (
    AddressReport,
    Advice,
    ClientAddress,
    Control,
    Evidence,
    Finding,
    Loss,
    Problem,
    Report,
    Rtt,
    State,
    Verdict,
)

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535
LOWEST = 1

# No deadline: the tests have no clock.
ANY = settings(deadline=None)
FEW = settings(deadline=None, max_examples=40)

PORTS = st.integers(LOWEST, HIGHEST)
# As the program has them: an address of IPv4 within IPv6's is the one of IPv4.
ADDRESSES: st.SearchStrategy[Address] = st.ip_addresses().map(str).map(parse_address)


def texts(most: int = 200) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=most)


@st.composite
def disjoint_runs(draw: st.DrawFn, most: int = 6) -> list[PortRange]:
    """Runs of ports, ascending, of which no two share a port."""
    ends = sorted(draw(st.lists(PORTS, unique=True, max_size=2 * most)))
    return [PortRange(first, last) for first, last in zip(ends[::2], ends[1::2])]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    row = st.builds(Requirement, st.sampled_from(Transport), st.none(), texts(), st.sampled_from(Need))
    rows = [Requirement(one.transport, run, one.purpose, one.need)
            for run in draw(disjoint_runs()) for one in [draw(row)]]  # fmt: skip
    return Plan(draw(texts()), tuple(rows))


COUNTS = st.none() | st.integers(0, 10**9)
MEASURES = st.none() | st.floats(0, 10**9)
MILLISECONDS = st.none() | st.floats(0, 10**7)
SHARES = st.none() | st.floats(0, 1)
HOSTS = st.none() | ADDRESSES.map(str)
NAMES: st.SearchStrategy[tuple[str, ...]] = st.lists(texts(255), max_size=2).map(tuple)
NOTES: st.SearchStrategy[tuple[str, ...]] = st.lists(texts(2000), max_size=2).map(tuple)
PROBLEMS = st.none() | st.builds(Problem, texts(), texts(2000), texts(2000))


@st.composite
def findings(draw: st.DrawFn) -> tuple[Finding, ...]:
    evidence = st.builds(
        Evidence, COUNTS, COUNTS, COUNTS, COUNTS, MEASURES, conntrack_drops=COUNTS, receive_errors=COUNTS,
        rate=MEASURES, flows=COUNTS, seconds=MEASURES, answers_sent=COUNTS, capture_drops=COUNTS, errors=COUNTS,
        hops=COUNTS,
        last_hop=HOSTS, listen_drops=COUNTS, slow_turns=COUNTS,
    )  # fmt: skip
    word = st.none() | texts()
    return tuple(
        draw(
            st.builds(
                Finding, st.sampled_from(Transport), st.just(run), st.sampled_from(Need), texts(),
                st.sampled_from(State), st.none() | st.sampled_from(Where), word, st.none() | st.sampled_from(Reason),
                word, word, word, st.none() | st.sampled_from(Interceptor), evidence, word,
            )
        )
        for run in draw(disjoint_runs())
    )  # fmt: skip


@st.composite
def address_reports(draw: st.DrawFn) -> AddressReport:
    found = draw(findings())
    advice = st.builds(Advice, st.integers(0, max(0, len(found) - 1)), texts(2000),
                       st.lists(texts(), max_size=2).map(tuple))  # fmt: skip
    return AddressReport(
        f"{draw(ADDRESSES)}{draw(st.sampled_from(('', '%eth0')))}",
        draw(st.sampled_from(Family)),
        draw(st.sampled_from(Verdict)),
        draw(st.builds(Control, st.none() | PORTS, st.none() | st.booleans(), st.booleans())),
        draw(st.builds(Rtt, MILLISECONDS, MILLISECONDS, MILLISECONDS)),
        draw(st.builds(Loss, SHARES, SHARES)),
        found,
        tuple(draw(st.lists(advice, max_size=len(found)))),
        draw(NOTES),
        draw(PROBLEMS),
        draw(st.builds(ClientAddress, HOSTS, HOSTS)),
        draw(st.none() | st.lists(ADDRESSES.map(str), max_size=2).map(tuple)),
        draw(NAMES),
    )


REPORTS = st.builds(
    Report, texts(), texts(), st.floats(0, 10**6).map(lambda seconds: round(seconds, 3)), texts(255), texts(),
    st.sampled_from(Verdict), st.lists(address_reports(), max_size=2).map(tuple), PROBLEMS,
    st.none() | st.lists(ADDRESSES.map(str), max_size=2).map(tuple), NAMES, NOTES,
)  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within a JSON value, with each of its keys."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield value, key
        yield from _places(item)


@st.composite
def gone_wrong(draw: st.DrawFn, value: Any) -> Any:
    """A JSON object in which one thing is missing, or replaced by anything."""
    changed = copy.deepcopy(value)
    container, key = draw(st.sampled_from(list(_places(changed))))
    if draw(st.booleans()):
        container[key] = draw(JSON)
    else:
        del container[key]
    return changed
