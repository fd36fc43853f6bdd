"""What the server tells while it runs."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family
from agent.core.errors import UsageError, UserError
from agent.core.events import (
    ClientLost,
    ClientRefused,
    Event,
    EventsSuppressed,
    LeftRunning,
    Listening,
    Note,
    Notes,
    ReportReceived,
    ServerStopped,
    Service,
    ServiceKind,
    ServicesRestored,
    ServiceTransition,
    SessionStarted,
    Step,
    StopPlan,
    Unavailable,
)
from agent.core.observation import UNTESTED_REASONS, Reason
from agent.core.plan import TURN_UDP, Need, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import Problem, Report, Verdict
from agent.core.report_json import to_json
from agent.output import event_json, events
from agent.output.style import Style
from tests.core.values import FEW, texts

# Limits, by their numbers: who changes one changes it here too.
MAX_WIDTH = 80

TCP, UDP = Transport.TCP, Transport.UDP
CLIENT = ipaddress.ip_address("192.0.2.1")
PRIVATE, PUBLIC = ipaddress.ip_address("10.0.0.5"), ipaddress.ip_address("9.9.9.9")
REPORT = Report("0.1.0", "2026-01-31T12:00:00Z", 3.2, "meet.example.com", "mine", Verdict.PASS)
TURN = Requirement(UDP, PortRange(3478, 3478), TURN_UDP, Need.RECOMMENDED, "livekit.yaml, turn.udp_port")
LISTENING = Listening(
    443,
    ((TCP, PortRange(443, 443)), (TCP, PortRange(7881, 7881)), (UDP, PortRange(50000, 60000))),
    (
        Unavailable(TCP, PortRange(80, 80), Reason.BUSY, "haproxy (pid 812)", None),
        Unavailable(UDP, PortRange(443, 443), Reason.DENIED, None, Family.IPV6),
    ),
    True,
    (PRIVATE,),
    3600.0,
    "",
)  # fmt: skip

NOTE = Note(
    "clock-unset", "No time server sets the clock.", "Tokens are refused.", "Set it.", ("timedatectl set-ntp true",)
)
NOTES = Notes((NOTE,), ("interfaces", "certificates"), ("STUN (--offline)",))
NOTES_TEXT = """
Other problems on this server (they do not change the result):
  No time server sets the clock.
    Effect: Tokens are refused.
    What to do: Set it.
      timedatectl set-ntp true
No problem: interfaces, certificates. Not checked: STUN (--offline).
"""
PAUSING = StopPlan(
    (
        Service(ServiceKind.COMPOSE, "plugnmeet", ("livekit", "web"), ((TCP, PortRange(7881, 7881)),
                                                                (UDP, PortRange(50_000, 60_000)))),
        Service(ServiceKind.UNIT, "needs-haproxy.service"),
        Service(ServiceKind.UNIT, "haproxy.service", (), ((TCP, PortRange(80, 80)), (TCP, PortRange(443, 443)))),
    ),
    (LeftRunning("chrony.service", ((UDP, PortRange(50_123, 50_123)),), "it looks like an outgoing socket"),),
    600.0,
)  # fmt: skip
PAUSING_TEXT = """\
  will be stopped: plugnmeet, livekit, web (7881/tcp; 50000-60000/udp)
  will be stopped: needs-haproxy.service
  will be stopped: haproxy.service (80, 443/tcp)
  keeps running: chrony.service (50123/udp): it looks like an outgoing socket

They stop in this order. Calls are cut until the check is over, 10 minutes at
most, also if no client connects. Then they start again. Have this command ready
on a computer outside the firewall: `python3 pnmcheck.pyz client HOST`
"""

LISTENING_TEXT = """\
  tcp  443, 7881
  udp  50000-60000
  not 80/tcp, busy: haproxy (pid 812)
  not 443/udp on IPv6, denied: start with sudo to test it
  Busy ports are not tested. `--stop-services` stops the services for the check
  and starts them again; `--live --control PORT` leaves them running.
  control channel on 443/tcp, with TLS

Now run this on a computer outside the firewall (on Windows: py, not python3):

  python3 pnmcheck.pyz client HOST

HOST is this server's public name or address (this machine has 10.0.0.5).
The server stops after 1 hour, or with ctrl-C.
"""


def test_programs_read_whether_root_is_kept() -> None:
    assert event_json.to_json(replace(LISTENING, root="root: only on Linux"))["root"] is True


def test_services_go_on_running_beside_a_check() -> None:
    halves = (PortRange(10000, 20000), PortRange(50000, 60000))
    live = replace(LISTENING, live=True, partitions=halves)
    assert "--stop-services" not in events.to_text(live, Style())
    event = event_json.to_json(live)
    assert event["live"] is True
    assert event["halves"] == [{"transport": "udp", "first": run.first, "last": run.last} for run in halves]
    shown = " ".join(events.to_text(live, Style()).split())
    ranges = "10000-20000, 50000-60000/udp"
    assert f"services keep running; during a check pnmcheck binds the free ports of {ranges}, half of them" in shown
    without = " ".join(events.to_text(replace(live, partitions=()), Style()).split())
    assert "services keep running not 80/tcp" in without


def test_what_an_operator_reads_when_a_client_may_start() -> None:
    assert events.to_text(LISTENING, Style()) == LISTENING_TEXT


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (replace(LISTENING, own_addresses=(PRIVATE, PUBLIC)), "  python3 pnmcheck.pyz client 9.9.9.9"),
        (replace(LISTENING, own_addresses=()), "HOST is this server's public name or address."),
        (replace(LISTENING, control=8443), "  python3 pnmcheck.pyz client HOST --control 8443"),
        (replace(LISTENING, control=7881), "  python3 pnmcheck.pyz client HOST"),
        (replace(LISTENING, listening=()), "  udp  none"),
        (replace(LISTENING, tls=False),
         "  control channel on 443/tcp, not encrypted: there is no openssl program here"),
        (replace(LISTENING, key="7k2m-q0xz"), "  python3 pnmcheck.pyz client HOST --key 7k2m-q0xz"),
        (replace(LISTENING, key="x'y; z"), """  python3 pnmcheck.pyz client HOST --key 'x'"'"'y; z'"""),
        (replace(LISTENING, key="x", control=8443), "  python3 pnmcheck.pyz client HOST --control 8443 --key x"),
        (replace(LISTENING, key="x"), "  control channel on 443/tcp, with TLS, only for clients with the key"),
        (replace(LISTENING, key="x", key_known=True), "  python3 pnmcheck.pyz client HOST"),
        (replace(LISTENING, key="x", key_known=True), "Set PNMCHECK_KEY there to the same key first."),
        (replace(LISTENING, seconds=7200.0), "The server stops after 2 hours, or with ctrl-C."),
        (replace(LISTENING, seconds=60.0), "The server stops after 1 minute, or with ctrl-C."),
        (replace(LISTENING, seconds=1.0), "The server stops after 1 second, or with ctrl-C."),
        (replace(LISTENING, seconds=90.0), "The server stops after 90 seconds, or with ctrl-C."),
        (replace(LISTENING, unavailable=(Unavailable(UDP, PortRange(1, 9), Reason.LIMIT, None, Family.IPV4),)),
         "  not 1-9/udp on IPv4, limit: too many open files; as root: ulimit -n 65536,"),
        (replace(LISTENING, unavailable=(Unavailable(UDP, PortRange(1, 9), Reason.BUSY, None, None),)),
         "  not 1-9/udp, busy: a program that has released it since"),
        (replace(LISTENING, unavailable=(Unavailable(UDP, PortRange(1, 9), Reason.BUSY, None, None),),
                 capture_unavailable="no root"),
         "  not 1-9/udp, busy: a program that only root can see"),
        (replace(LISTENING, unavailable=(Unavailable(UDP, PortRange(1, 9), Reason.BUSY, "x (pid 1)", None),
                                     Unavailable(UDP, PortRange(11, 12), Reason.BUSY, "x (pid 1)", None))),
         "  not 1-9, 11-12/udp, busy: x (pid 1)"),
        (replace(LISTENING, root="root: only on Linux can they be given up"),
         "  the process that reads from the network keeps the rights of root: only on"),
        (replace(LISTENING, planned=(TURN,)), "  3478/udp from livekit.yaml, turn.udp_port"),
        (replace(LISTENING, notes=("It was not read.",)), "  It was not read."),
        (SessionStarted(CLIENT), "192.0.2.1 started a check."),
        (ClientRefused(CLIENT, Problem("crowded", "64 checks run", "wait a minute")),
         "192.0.2.1 was refused: 64 checks run. What to do: wait a minute."),
        (ClientLost(CLIENT), "192.0.2.1 disconnected during its check."),
        (EventsSuppressed(12), "12 more such lines were left out: too many at a time."),
        (ServerStopped("time is over"), "Stopped: time is over."),
        (StopPlan((), (), 600.0), "No service needs to be stopped."),
        (ServiceTransition(Step.STOPPING, "haproxy.service"), "  haproxy.service is being stopped"),
        (ServiceTransition(Step.NOT_STOPPED, "haproxy.service", "systemctl did not finish in 30 s"),
         "  haproxy.service did not stop: systemctl did not finish in 30 s"),
        (ServicesRestored((), ()), "Nothing to start: no service was left stopped."),
    ],
)  # fmt: skip
def test_a_notice_in_words(notice: Event, line: str) -> None:
    told = events.to_text(notice, Style())
    assert line in told.splitlines()
    assert told.endswith("\n")


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (NOTES, NOTES_TEXT),
        (Notes(fine=("clock",)), "No problem: clock.\n"),
        (Notes(unknown=("clock",)), "Not checked: clock.\n"),
        (Notes((replace(NOTE, commands=()),)), "\n".join(NOTES_TEXT.splitlines()[:-2]) + "\n"),
        (Notes(), ""),
    ],
)
def test_what_an_operator_reads_of_the_machine_itself(told: Notes, text: str) -> None:
    assert events.to_text(told, Style()) == text


def test_a_notes_colours() -> None:
    told = events.to_text(NOTES, Style(colour=True))
    assert "\x1b[33m  No time server sets the clock.\x1b[0m" in told
    assert "\x1b[1m      timedatectl set-ntp true\x1b[0m" in told


def test_what_is_said_before_services_are_stopped() -> None:
    assert events.to_text(PAUSING, Style()) == PAUSING_TEXT


def test_what_came_back_was_said_as_it_came() -> None:
    assert events.to_text(ServicesRestored(("haproxy.service",), ()), Style()) == ""


def test_a_report_has_a_room_of_its_own() -> None:
    assert events.to_text(ReportReceived(CLIENT, REPORT), Style()) == ""


@pytest.mark.parametrize(
    ("notice", "event"),
    [
        (
            replace(LISTENING, planned=(TURN,), notes=("It was not read.",)),
            {
                "event": "listening",
                "control": 443,
                "listening": [
                    {"transport": "tcp", "first": 443, "last": 443},
                    {"transport": "tcp", "first": 7881, "last": 7881},
                    {"transport": "udp", "first": 50000, "last": 60000},
                ],
                "untested": [
                    {"transport": "tcp", "first": 80, "last": 80, "reason": "busy", "owner": "haproxy (pid 812)",
                     "family": None},
                    {"transport": "udp", "first": 443, "last": 443, "reason": "denied", "owner": None,
                     "family": "ipv6"},
                ],
                "capture": True,
                "tls": True,
                "paired": False,
                "key": None,
                "root": False,
                "planned": [
                    {"transport": "udp", "first": 3478, "last": 3478, "need": "recommended", "purpose": "TURN/UDP",
                     "source": "livekit.yaml, turn.udp_port"},
                ],
                "notes": ["It was not read."],
                "live": False,
                "halves": [],
            },
        ),
        (NOTES, {"event": "notes", "notes": [{
            "code": "clock-unset", "what": "No time server sets the clock.", "breaks": "Tokens are refused.",
            "fix": "Set it.", "commands": ["timedatectl set-ntp true"],
        }], "fine": ["interfaces", "certificates"], "unknown": ["STUN (--offline)"]}),
        (SessionStarted(CLIENT), {"event": "session", "client": "192.0.2.1"}),
        (ReportReceived(CLIENT, REPORT), {"event": "report", "client": "192.0.2.1", "report": to_json(REPORT)}),
        (ClientRefused(CLIENT, Problem("crowded", "64 checks run", "wait")),
         {"event": "refused", "client": "192.0.2.1",
          "error": {"code": "crowded", "message": "64 checks run", "hint": "wait"}}),
        (ClientLost(CLIENT), {"event": "lost", "client": "192.0.2.1"}),
        (EventsSuppressed(12), {"event": "withheld", "count": 12}),
        (ServerStopped("time is over"), {"event": "stopped", "why": "time is over"}),
        (
            replace(PAUSING, services=PAUSING.services[2:]),
            {
                "event": "services",
                "stopping": [{"name": "haproxy.service", "with": [], "ports": [
                    {"transport": "tcp", "first": 80, "last": 80}, {"transport": "tcp", "first": 443, "last": 443},
                ]}],
                "left": [{"owner": "chrony.service", "ports": [{"transport": "udp", "first": 50123, "last": 50123}],
                          "why": "it looks like an outgoing socket"}],
                "seconds": 600.0,
            },
        ),
        (ServiceTransition(Step.RUNNING, "haproxy.service"),
         {"event": "service", "step": "back", "service": "haproxy.service", "why": ""}),
        (ServicesRestored(("a.service",), ("b.service",)),
         {"event": "restored", "services": ["a.service"], "failed": ["b.service"]}),
    ],
)  # fmt: skip
def test_a_notice_for_programs(notice: Event, event: dict[str, object]) -> None:
    assert json.loads(json.dumps(event_json.to_json(notice))) == event


@pytest.mark.parametrize(
    ("key", "known", "shown"), [("7k2m-q0xz", False, "7k2m-q0xz"), ("7k2m-q0xz", True, None), (None, False, None)]
)
def test_a_program_is_told_the_key_but_for_one_from_the_environment(
    key: str | None, known: bool, shown: str | None
) -> None:
    event = event_json.to_json(replace(LISTENING, key=key, key_known=known))
    assert (event["paired"], event["key"]) == (key is not None, shown)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("x", "No server found", "443/tcp refused", "start it"),
         "pnmcheck: No server found\n  why: 443/tcp refused\n  what to do: start it\n"),
        (UsageError("--for 0", "", "write 90s"), "pnmcheck: --for 0\n  what to do: write 90s\n"),
    ],
)  # fmt: skip
def test_an_error_in_three_short_parts(error: UserError, expected: str) -> None:
    assert events.error_text(error, Style()) == expected


@FEW
@given(texts(), texts(), texts(), st.sampled_from(UNTESTED_REASONS))
def test_nothing_from_others_moves_the_cursor(one: str, two: str, three: str, reason: Reason) -> None:
    unavailable = (Unavailable(TCP, PortRange(80, 80), reason, one, None),)
    for told in (
        events.error_text(UserError("x", one, two, three), Style()),
        events.to_text(ClientRefused(CLIENT, Problem("x", two, three)), Style()),
        events.to_text(replace(LISTENING, unavailable=unavailable), Style()),
        events.to_text(Notes((replace(NOTE, what=one, breaks=two, fix=three),), (one,), (two, three)), Style()),
        events.to_text(StopPlan(PAUSING.services, (LeftRunning(one, (), two),), 600.0), Style()),
        events.to_text(ServiceTransition(Step.FAILED, one, two), Style()),
    ):
        lines = told.split("\n")
        assert all(line.isprintable() and line.isascii() and len(line) <= MAX_WIDTH for line in lines)
