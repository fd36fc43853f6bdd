"""What is said of names and their records, and what is not."""

from __future__ import annotations

from typing import Any, Mapping

import pytest

from agent.core.address import family_of, parse_address
from agent.core.observation import Interceptor, Reason, Where
from agent.core.report import AddressReport, ClientAddress, Evidence, Finding, Problem, State, Verdict
from agent.verdict.names import is_ours, notes
from tests.verdict.test_advice import finding

# Limits, by their numbers: who changes one changes it here too.
MAX_NOTES = 64
MAX_SENTENCE = 2000

MEET, TURN = "meet.example.com", "turn.example.com"
V4, OTHER_V4, V6 = "203.0.113.10", "203.0.113.9", "2001:db8::9"
CLOUDFLARE, CLOUDFLARE_V6 = "104.17.2.3", "2606:4700::1"
OPEN = finding("443/tcp", State.OPEN)
SILENT = finding("443/tcp", State.FILTERED, where=Where.UNKNOWN, evidence=Evidence(3, 0, 0))
STRANGER = finding("443/tcp", State.INTERCEPTED, interceptor=Interceptor.OTHER_SERVICE)
ONE_SERVER = "In plugNmeet the web name and the TURN name must lead to the same server."


def at(text: str, *findings: Finding, names: tuple[str, ...] = (MEET,), error: str = "", **rest: Any) -> AddressReport:
    problem = Problem(error, "", "") if error else None
    family = family_of(parse_address(text))
    return AddressReport(text, family, Verdict.FAIL, findings=findings, names=names, error=problem, **rest)


def told(*addresses: AddressReport, **known: Any) -> list[str]:
    return list(notes(addresses, **{"servers": {}, "cdns": (), "wildcard_bind": True, **known}))


def https(*cause: Any, **rest: Any) -> Finding:
    return finding("443/tcp", *cause, **rest)


OURS, LOST = at(V4, OPEN), https(State.UNKNOWN, reason=Reason.PATH_LOSS)


@pytest.mark.parametrize(
    ("one", "ours"),
    [
        (OURS, True),
        (at(V4, SILENT), False),
        (at(V4, STRANGER), False),
        (at(V4, error="no-server"), False),
        (at(V4, SILENT, client=ClientAddress("192.0.2.1", "192.0.2.1")), True),
        (at(V4, https(State.FILTERED, where=Where.SERVER_HOST)), True),
        (at(V4, https(State.REJECTED, where=Where.RETURN_PATH)), True),
        (at(V4, https(State.FILTERED, where=Where.BEFORE_SERVER)), False),
        (at(V4, https(State.FILTERED, evidence=Evidence(at_interface=1))), True),
        (at(V4, https(State.FILTERED, evidence=Evidence(at_socket=1))), True),
        (at(V4, https(State.INTERCEPTED, interceptor=Interceptor.FORWARDED)), True),
    ],
)
def test_what_shows_that_an_address_leads_to_our_server(one: AddressReport, ours: bool) -> None:
    assert is_ours(one) is ours


ASTRAY = f"The AAAA record of {MEET}, {V6}, leads to"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (at(V6, STRANGER), [f"{ASTRAY} another host: remove or correct it."]),
        (at(V6, https(State.INTERCEPTED)), [f"{ASTRAY} another host: remove or correct it."]),
        (at(OTHER_V4, STRANGER),
         [f"The A record of {MEET}, {OTHER_V4}, leads to another host: remove or correct it, or the port forwarding "
          "there."]),
        (at(V6, STRANGER, names=(MEET, TURN)),
         [f"The AAAA records of {MEET} and {TURN}, {V6}, lead to another host: remove or correct them."]),
        (at(V6, SILENT),
         [f"{ASTRAY} where the server does not answer: remove or correct it, unless the address is the server's own."]),
        (at(V6, error="no-server"),
         [f"{ASTRAY} where the server does not answer: remove or correct it, unless the address is the server's own."]),
        (at(V6, STRANGER, names=()), []),  # somebody gave the address: no record is to blame
        (at(V6, OPEN, STRANGER), []),
        (at(V6, error="unreachable"), []),  # this computer may have no IPv6
        (at(V6, error="aborted"), []),
        (at(V6, error="wrong-key"), []),
        (at(V6, LOST), []),
        (at(V6, SILENT, https(State.UNKNOWN, reason=Reason.ABORTED)), []),
        (at(V6, https(State.UNTESTED, reason=Reason.BUSY)), []),
        # These may stand on the client's side.
        *((at(V6, https(State.INTERCEPTED, interceptor=kind), STRANGER), [])
          for kind in (Interceptor.CAPTIVE_PORTAL, Interceptor.HTTP_PROXY, Interceptor.TLS_MIDDLEBOX)),
    ],
)  # fmt: skip
def test_a_record_is_wrong_where_another_one_leads_to_the_server(other: AddressReport, said: list[str]) -> None:
    hidden = {MEET, TURN} if other.names == (MEET, TURN) else {MEET}
    ours = at(V4, OPEN, names=tuple(sorted(hidden)))
    assert told(ours, other) == said
    assert told(other) == []  # who knows then which is right?
    assert told(ours, other, wildcard_bind=False) == []  # the server may have this address, and not listen there


IN_FRONT = 'point it at the server itself (at Cloudflare: "DNS only", the grey cloud). WebRTC and TURN cannot pass an'
CDN = https(State.INTERCEPTED, interceptor=Interceptor.CDN)


@pytest.mark.parametrize(
    ("one", "cdns", "said"),
    [
        (at(V4, CDN), (), f"The A record of {MEET}, {V4}, leads to a CDN: {IN_FRONT}"),
        (at(V6, CDN, STRANGER), (), f"The AAAA record of {MEET}, {V6}, leads to a CDN: {IN_FRONT}"),
        (at(V4, error="not-pnmcheck"), (V4,), f"The A record of {MEET}, {V4}, leads to a CDN: {IN_FRONT}"),
        (at(CLOUDFLARE, error="not-pnmcheck"), (), f"The A record of {MEET}, {CLOUDFLARE}, leads to Cloudflare: "),
        (at(CLOUDFLARE, CDN), (CLOUDFLARE,), f"The A record of {MEET}, {CLOUDFLARE}, leads to Cloudflare: {IN_FRONT}"),
        (at(CLOUDFLARE_V6, error="no-server"), (), f"The AAAA record of {MEET}, {CLOUDFLARE_V6}, leads to Cloudflare"),
        (at(CLOUDFLARE, SILENT, names=(MEET, TURN)), (),
         f"The A records of {MEET} and {TURN}, {CLOUDFLARE}, lead to Cloudflare: point them at the server"),
        (at(CLOUDFLARE, error="no-server", names=()), (),
         f"The address {CLOUDFLARE} leads to Cloudflare: check the server's own address. WebRTC"),
        (at(CLOUDFLARE, OPEN), (CLOUDFLARE,), ""),  # Cloudflare sells that too
        (at(CLOUDFLARE, error="unreachable"), (), ""),
        (at(V4, error="not-pnmcheck"), (), ""),
    ],
)  # fmt: skip
def test_a_cdn_in_front_is_named(one: AddressReport, cdns: tuple[str, ...], said: str) -> None:
    found = told(one, cdns=cdns)
    assert len(found) == bool(said)
    assert "".join(found).startswith(said)


@pytest.mark.parametrize(
    ("addresses", "servers", "said"),
    [
        ((at(V4, OPEN, names=(MEET, TURN)),), {V4: "a"}, None),
        ((at(V4, OPEN), at(V6, OPEN)), {V4: "a", V6: "b"}, None),  # one name alone
        ((at(V4, OPEN, names=(MEET,)), at(OTHER_V4, OPEN, names=(TURN,))), {V4: "a", OTHER_V4: "a"},
         f"{MEET} to {V4}; {TURN} to {OTHER_V4}. One server answers at all of them."),
        ((at(V4, OPEN, names=(MEET,)), at(OTHER_V4, OPEN, names=(TURN,))), {V4: "a", OTHER_V4: "b"},
         f"{MEET} to {V4}; {TURN} to {OTHER_V4}. Different servers answer there. {ONE_SERVER}"),
        # Without TLS nobody knows.
        ((at(V4, OPEN, names=(MEET,)), at(OTHER_V4, OPEN, names=(TURN,))), {V4: "a", OTHER_V4: ""},
         f"{MEET} to {V4}; {TURN} to {OTHER_V4}. {ONE_SERVER}"),
        ((at(V4, OPEN, names=(MEET,)), at(OTHER_V4, error="unreachable", names=(TURN,))), {V4: "a"},
         f"{MEET} to {V4}; {TURN} to {OTHER_V4}. {ONE_SERVER}"),
        # It was checked through a server at an address without a name, and is not shown to be that one's.
        ((at(V6, OPEN, names=()), at(V4, OPEN), at(OTHER_V4, LOST, names=(TURN,))),
         {V6: "b", V4: "a", OTHER_V4: "b"}, f"{MEET} to {V4}; {TURN} to {OTHER_V4}. {ONE_SERVER}"),
        ((at(V4, OPEN, names=(MEET, TURN, "c")), at(V6, OPEN), at(OTHER_V4, OPEN, names=())), {V4: "a", V6: "a"},
         f"{MEET} to {V4} and {V6}; {TURN} and c to {V4}. One server answers at all of them."),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(
    addresses: tuple[AddressReport, ...], servers: Mapping[str, str], said: str | None
) -> None:
    assert told(*addresses, servers=servers) == ([f"The names lead to different addresses: {said}"] if said else [])


def test_a_name_that_leads_elsewhere_has_the_wrong_record() -> None:
    first, second = told(at(V4, OPEN), at(OTHER_V4, STRANGER, names=(TURN,)), servers={V4: "a", OTHER_V4: "a"})
    assert first.endswith(ONE_SERVER)
    assert second.startswith(f"The A record of {TURN}, {OTHER_V4}, leads to another host: ")


def test_what_is_said_fits_in_a_report() -> None:
    addresses = [at(f"2001:db8::{number:x}", STRANGER, names=("x" * 255, *"abcdefg")) for number in range(1, 129)]
    said = told(at(V4, OPEN, names=("y" * 255,) * 8), *addresses)
    assert len(said) == MAX_NOTES
    assert max(map(len, said)) == MAX_SENTENCE
