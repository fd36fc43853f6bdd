"""Several names: each address once, with its own name; records that lead to a CDN, another host or nobody."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import pytest

from tests.lab import ROUTER_OUTSIDE, SERVER, Check, Lab, check, lab, server, side_by_side, wrong
from tests.network.test_interception import certificate, running, written

FEW, UDP = "tcp 80,443,7881 udp 50000-50099", ("--udp", "50000-50099")
MEET, TURN, GONE = "meet.example", "turn.example", "gone.example"
V4, V6 = SERVER
SECOND = "198.51.100.3"  # the server's too
ELSEWHERE, ELSEWHERE_V6 = ROUTER_OUTSIDE  # another host, at whose ports 80 and 443 an nginx serves
CLOUDFLARE = "104.16.0.9"  # of that host, in this network
NOBODY_V6 = "2001:db8:1::99"

# It shows by which names it is asked.
NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    {header}
    server {{
        listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
        return 301 https://$host/$ssl_server_name;
    }}
}}
"""
CDN = "add_header CF-RAY 8a1 always;"

ONE_SERVER = "In plugNmeet the web name and the TURN name must lead to the same server."
FIX = 'point it at the server itself (at Cloudflare: "DNS only", the grey cloud).'
FIX += " WebRTC and TURN cannot pass an HTTP proxy."


@dataclass(frozen=True, eq=False)
class Scenario:
    """What names there are, which are given, and what has to come of it: each address's names and verdict, and notes.

    `stranger` has an nginx serve at another host, with this in its configuration; `second` a server of ours instead.
    """

    what: str
    names: Mapping[str, tuple[str, ...]]
    hosts: tuple[str, ...]
    addresses: Mapping[str, tuple[tuple[str, ...], str]]
    notes: tuple[str, ...] = ()
    whole: str = "pass"
    error: str | None = None
    stranger: str | None = None
    second: bool = False
    options: tuple[str, ...] = field(default=())
    silent: bool = False  # the server does not run

    @property
    def passes(self) -> bool:
        return any(verdict == "pass" for _, verdict in self.addresses.values())


SCENARIOS = (
    Scenario("two names of one address", {MEET: (V4,), TURN: (V4,)}, (MEET, TURN), {V4: ((MEET, TURN), "pass")}),
    Scenario("a name and its address", {MEET: (V4,)}, (V4, MEET, MEET), {V4: ((MEET,), "pass")}),
    Scenario("two addresses of one server", {MEET: (V4,), TURN: (SECOND,)}, (MEET, TURN),
             {V4: ((MEET,), "pass"), SECOND: ((TURN,), "pass")},
             (f"The names lead to different addresses: {MEET} to {V4}; {TURN} to {SECOND}. One server answers at all "
              "of them.",)),
    Scenario("two servers", {MEET: (V4,), TURN: (ELSEWHERE,)}, (MEET, TURN),
             {V4: ((MEET,), "pass"), ELSEWHERE: ((TURN,), "pass")},
             (f"The names lead to different addresses: {MEET} to {V4}; {TURN} to {ELSEWHERE}. Different servers answer "
              f"there. {ONE_SERVER}",), second=True),
    Scenario("a wrong AAAA", {MEET: (V4, ELSEWHERE_V6)}, (MEET,),
             {V4: ((MEET,), "pass"), ELSEWHERE_V6: ((MEET,), "fail")},
             (f"The AAAA record of {MEET}, {ELSEWHERE_V6}, leads to another host: remove or correct it.",), "fail",
             stranger=""),
    Scenario("a wrong A of the second name", {MEET: (V4, V6), TURN: (ELSEWHERE, V6)}, (MEET, TURN),
             {V4: ((MEET,), "pass"), V6: ((MEET, TURN), "pass"), ELSEWHERE: ((TURN,), "fail")},
             (f"The names lead to different addresses: {MEET} to {V4} and {V6}; {TURN} to {V6} and {ELSEWHERE}. "
              f"{ONE_SERVER}",
              f"The A record of {TURN}, {ELSEWHERE}, leads to another host: remove or correct it, or the port "
              "forwarding there."), "fail", stranger=""),
    Scenario("an AAAA of nobody", {MEET: (V4, NOBODY_V6)}, (MEET,),
             {V4: ((MEET,), "pass"), NOBODY_V6: ((MEET,), "inconclusive")},
             (f"The AAAA record of {MEET}, {NOBODY_V6}, leads to where the server does not answer: remove or "
              "correct it, unless the address is the server's own.",), "inconclusive"),
    Scenario("a server that listens on one address", {MEET: (V4, ELSEWHERE_V6)}, (MEET,),
             {V4: ((MEET,), "pass"), ELSEWHERE_V6: ((MEET,), "inconclusive")}, (), "inconclusive", stranger="",
             options=("--bind", V4)),
    Scenario("no server anywhere", {MEET: (V4, ELSEWHERE_V6)}, (MEET,),
             {V4: ((MEET,), "inconclusive"), ELSEWHERE_V6: ((MEET,), "inconclusive")}, (), "inconclusive", "no-server",
             stranger="", silent=True),
    Scenario("a name that does not resolve", {MEET: (V4,)}, (GONE, MEET), {V4: ((MEET,), "pass")}, (), "inconclusive",
             "name-not-found"),
    Scenario("no name that resolves", {}, (GONE, TURN), {}, (), "inconclusive", "name-not-found"),
    Scenario("a CDN before the web name", {MEET: (ELSEWHERE,), TURN: (V4,)}, (MEET, TURN),
             {ELSEWHERE: ((MEET,), "fail"), V4: ((TURN,), "pass")},
             (f"The names lead to different addresses: {MEET} to {ELSEWHERE}; {TURN} to {V4}. {ONE_SERVER}",
              f"The A record of {MEET}, {ELSEWHERE}, leads to a CDN: {FIX}"), "fail", stranger=CDN),
    Scenario("a CDN before the only name", {MEET: (ELSEWHERE,)}, (MEET,), {ELSEWHERE: ((MEET,), "inconclusive")},
             (f"The A record of {MEET}, {ELSEWHERE}, leads to a CDN: {FIX}",), "inconclusive", "not-pnmcheck",
             stranger=CDN),
    Scenario("an address of Cloudflare's", {MEET: (CLOUDFLARE,)}, (MEET,), {CLOUDFLARE: ((MEET,), "inconclusive")},
             (f"The A record of {MEET}, {CLOUDFLARE}, leads to Cloudflare: {FIX}",), "inconclusive", "not-pnmcheck",
             stranger=""),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Scenario], tuple[Check, list[dict[str, Any]]]]]:
    def run(scenario: Scenario) -> tuple[Check, list[dict[str, Any]]]:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab(routed=True))
            assert net.router
            net.client.knows(scenario.names)
            net.server.also(SECOND)
            net.router.must("ip", "address", "add", CLOUDFLARE, "dev", "lo")
            if scenario.stranger is not None:
                serve(stack, net, scenario.stranger, tmp_path_factory.mktemp("nginx"))
            if scenario.second:
                stack.enter_context(server(net.router, archive, *UDP))
            if scenario.silent:
                return check(net.client, archive, scenario.hosts[0], *scenario.hosts[1:]), []
            here = stack.enter_context(server(net.server, archive, *UDP, *scenario.options))
            seen = check(net.client, archive, scenario.hosts[0], *scenario.hosts[1:])
            if scenario.passes:
                here.wait_for("report")
            return seen, [one["report"] for one in here.of("report")]

    with side_by_side(request, run) as results:
        yield results


def serve(stack: contextlib.ExitStack, net: Lab, header: str, folder: Path) -> None:
    assert net.router
    text = NGINX.format(folder=folder, certificate=certificate(folder, "/CN=other.example"), header=header)
    command = ("nginx", "-e", "stderr", "-p", folder, "-c", written(folder / "nginx.conf", text))
    stack.enter_context(running(net.router, 443, *command))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.what.replace(" ", "-"))
def test_names(scenario: Scenario, outcome: Callable[[Scenario], tuple[Check, list[dict[str, Any]]]]) -> None:
    seen, told = outcome(scenario)
    report = seen.report
    assert {one["address"]: (tuple(one["names"]), one["verdict"]) for one in report["addresses"]} == scenario.addresses
    assert [one["address"] for one in report["addresses"]] == list(scenario.addresses)
    assert (report["host"], report["hosts"]) == (scenario.hosts[0], list(dict.fromkeys(scenario.hosts)))
    assert report["dns"] == list(scenario.addresses)
    assert tuple(report["notes"]) == scenario.notes
    assert (report["verdict"], report["error"] and report["error"]["code"]) == (scenario.whole, scenario.error)
    for address, (_, verdict) in scenario.addresses.items():
        assert verdict != "pass" or wrong(report, address=address, plan=FEW) == []
    for one in told:  # the server's terminal shows the same
        for address, its in zip(report["addresses"], one["addresses"]):
            assert (its["names"], its["verdict"]) == (address["names"], address["verdict"])
        assert {**one, "addresses": []} == {**report, "addresses": []}
    assert len(told) == scenario.passes


def shown(seen: Check, port: int, address: str) -> str:
    text = seen.finding("tcp", port, address)["shown"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        ({MEET: (V4,), TURN: (ELSEWHERE,)}, TURN),
        ({MEET: (V4, ELSEWHERE), TURN: (ELSEWHERE,)}, MEET),  # the first that leads there
    ],
)
def test_each_name_is_used_where_it_leads(
    archive: Path, tmp_path: Path, names: Mapping[str, tuple[str, ...]], asked: str
) -> None:
    with contextlib.ExitStack() as stack, lab(routed=True) as net:
        net.client.knows(names)
        serve(stack, net, "", tmp_path)
        stack.enter_context(server(net.server, archive, *UDP))
        seen = check(net.client, archive, MEET, TURN)
        assert f"Location: https://{asked}/," in f"{shown(seen, 80, ELSEWHERE)},"  # Host
        assert f"Location: https://{asked}/{asked};" in shown(seen, 443, ELSEWHERE)  # and TLS's server name


def test_a_name_that_does_not_resolve_is_told_by_name(net: Lab, archive: Path) -> None:
    net.client.knows({MEET: (net.server.ipv4,)})
    with server(net.server, archive, *UDP):
        done = net.client.run([sys.executable, archive, "client", MEET, GONE, TURN])
    assert done.returncode == 3
    assert done.stdout.startswith(f"INCONCLUSIVE  {MEET}, {GONE}, turn.e...: a name could not be checked\n\n")
    assert f"{net.server.ipv4} (IPv4, {MEET})  PASS" in done.stdout
    for text in (done.stdout, done.stderr):
        assert all(f"No address found for '{name}'" in " ".join(text.split()) for name in (GONE, TURN))


def test_a_cdn_is_named_on_the_terminal_though_no_server_was_found(archive: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack, lab(routed=True) as net:
        net.client.knows({MEET: (ELSEWHERE,)})
        serve(stack, net, CDN, tmp_path)
        done = net.client.run([sys.executable, archive, "client", MEET])
    assert done.returncode == 3
    assert f"The A record of {MEET}, {ELSEWHERE}, leads to a CDN: {FIX}" in " ".join(done.stdout.split())
