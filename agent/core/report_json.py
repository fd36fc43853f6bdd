"""The report as JSON, schema pnmcheck.report/1, and back; report.schema.json beside this says the same for others."""

from __future__ import annotations

import json
from typing import Any

from . import report as nouns
from .address import Family
from .codec import (
    PORTS,
    AddressText,
    Boolean,
    Choice,
    Derived,
    Integer,
    ListOf,
    Members,
    Nullable,
    Number,
    Record,
    Text,
    load_object,
)
from .errors import DecodeError
from .observation import Interceptor, Reason, Where
from .plan import Need, Transport
from .ports import HIGHEST, LOWEST, find_overlap
from .report import MAX_ADDRESSES, MAX_COMMANDS, MAX_HOSTS, MAX_NOTES, MAX_SENTENCE, AddressReport, Report

SCHEMA = "pnmcheck.report/1"

# Bounds for a report that the other side sends. A plan has at most every port of both transports, a name of the DNS 253
# characters.
MAX_FINDINGS = 2 * HIGHEST
MAX_NAME = 255
MAX_COUNT = 10**9
MAX_MILLISECONDS = 10**7

_WORD = Text()
_SENTENCE = Text(MAX_SENTENCE)
_MAYBE_WORD = Nullable(_WORD)
_COUNT = Nullable(Integer(0, MAX_COUNT))
_MEASURE = Nullable(Number(0, MAX_COUNT))
_MILLISECONDS = Nullable(Number(0, MAX_MILLISECONDS))
_SHARE = Nullable(Number(0, 1))
_MAYBE_ADDRESS = Nullable(AddressText())
_MAYBE_ADDRESSES = Nullable(ListOf(AddressText(), MAX_ADDRESSES))
_NAMES = ListOf(Text(MAX_NAME), MAX_HOSTS)
_NOTES = ListOf(_SENTENCE, MAX_NOTES)
PROBLEM = Record(nouns.Problem, {"code": _WORD, "message": _SENTENCE, "hint": _SENTENCE})

EVIDENCE = Record(nouns.Evidence, {
    "sent": _COUNT, "at_interface": _COUNT, "at_socket": _COUNT, "answered": _COUNT, "chance": _MEASURE,
    "conntrack_drops": _COUNT, "receive_errors": _COUNT, "rate": _MEASURE, "flows": _COUNT, "seconds": _MEASURE,
    "left": _COUNT, "capture_drops": _COUNT, "errors": _COUNT, "hops": _COUNT, "last_hop": _MAYBE_ADDRESS,
    "listen_drops": _COUNT, "slow_turns": _COUNT,
}, {"left": "answers_sent"})  # fmt: skip

FINDING = Record(nouns.Finding, {
    "transport": Choice(Transport), "ports": PORTS, "need": Choice(Need), "purpose": _WORD,
    "state": Choice(nouns.State), "where": Nullable(Choice(Where)), "by": _MAYBE_WORD,
    "reason": Nullable(Choice(Reason)), "owner": _MAYBE_WORD, "shown": _MAYBE_WORD, "icmp": _MAYBE_WORD,
    "interceptor": Nullable(Choice(Interceptor)), "evidence": EVIDENCE, "source": _MAYBE_WORD, "through": _MAYBE_WORD,
})  # fmt: skip


def _check_address(address: AddressReport) -> None:
    for transport in Transport:
        if find_overlap(finding.ports for finding in address.findings if finding.transport is transport):
            raise DecodeError("a port that is in two findings")
    findings = len(address.findings)
    if len(address.advice) > findings:
        raise DecodeError(f"'advice' is not a list of at most {findings} items")
    for advice in address.advice:
        Integer(0, findings - 1).decode(advice.finding)


def _summary(address: AddressReport) -> dict[str, dict[str, int]]:
    return {
        transport.value: {state.value: ports for state, ports in address.count(transport).items()}
        for transport in Transport
    }


_CONTROL = {"port": Nullable(Integer(LOWEST, HIGHEST)), "tls": Nullable(Boolean()), "paired": Boolean()}
_ADVICE: Members = {
    "finding": Integer(0, MAX_FINDINGS - 1),
    "text": _SENTENCE,
    "commands": ListOf(_SENTENCE, MAX_COMMANDS),
}
ADDRESS = Record(AddressReport, {
    "address": AddressText(), "family": Choice(Family), "verdict": Choice(nouns.Verdict),
    "control": Record(nouns.Control, _CONTROL),
    "rtt_ms": Record(nouns.Rtt, {"min": _MILLISECONDS, "median": _MILLISECONDS, "p95": _MILLISECONDS}),
    "loss": Record(nouns.Loss, {"to_server": _SHARE, "to_client": _SHARE}),
    "sample": Derived(lambda address: address.sample and vars(address.sample)),
    "findings": ListOf(FINDING, MAX_FINDINGS), "summary": Derived(_summary),
    "advice": ListOf(Record(nouns.Advice, _ADVICE), MAX_FINDINGS), "notes": _NOTES, "error": Nullable(PROBLEM),
    "client": Record(nouns.ClientAddress, {"local": _MAYBE_ADDRESS, "mapped": _MAYBE_ADDRESS}),
    "server": _MAYBE_ADDRESSES, "names": _NAMES,
}, {"rtt_ms": "rtt"}, _check_address)  # fmt: skip

REPORT = Record(Report, {
    "schema": Derived(lambda report: SCHEMA), "version": _WORD, "started": _WORD,
    "elapsed_s": Number(0, MAX_COUNT, decimals=3), "host": Text(MAX_NAME), "plan": _WORD,
    "verdict": Choice(nouns.Verdict), "addresses": ListOf(ADDRESS, MAX_ADDRESSES), "error": Nullable(PROBLEM),
    "dns": _MAYBE_ADDRESSES, "hosts": _NAMES, "notes": _NOTES,
}, {"elapsed_s": "elapsed"})  # fmt: skip


def to_json(report: Report) -> dict[str, Any]:
    """Return the report as the JSON object of schema 1."""
    return REPORT.encode(report)


def encode(report: Report) -> str:
    """Return the report as one line of JSON, plain ASCII."""
    return json.dumps(to_json(report), separators=(",", ":"))


def decode(text: str) -> Report:
    """Read a report that the other side sent; DecodeError for anything that is none, or is out of bounds."""
    value = load_object(text)
    if value.get("schema") != SCHEMA:
        raise DecodeError("not a report of schema 1")
    return REPORT.decode(value)
