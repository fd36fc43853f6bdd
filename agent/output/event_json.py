"""What the server reports while it runs, as the JSON objects of `server --json`.

Its keys and words are relied on: never rename or remove one. These lines are only written, so their codecs have no
bounds.
"""

from __future__ import annotations

from typing import Any, Mapping, Tuple

from ..core import events
from ..core.address import Address, Family
from ..core.codec import PORTS, Choice, Codec, Derived, ListOf, Nullable, Record
from ..core.events import Event, LeftRunning, Listening, Note, Notes, Service, ServiceTransition, Step
from ..core.observation import Reason
from ..core.plan import Need, Requirement, Transport
from ..core.ports import PortRange
from ..core.report_json import PROBLEM, REPORT


class _AddressCodec(Codec[Address]):
    def encode(self, value: Address) -> str:
        return str(value)


class _RunCodec(Codec[Tuple[Transport, PortRange]]):
    def encode(self, value: tuple[Transport, PortRange]) -> dict[str, Any]:
        return {"transport": value[0].value, "first": value[1].first, "last": value[1].last}


_AS_IT_IS: Codec[Any] = Codec()
_LIST = ListOf(_AS_IT_IS)
_RUNS = ListOf(_RunCodec())
_CLIENT = {"client": _AddressCodec()}
_UNAVAILABLE = Record(
    events.Unavailable,
    {
        "transport": Choice(Transport),
        "ports": PORTS,
        "reason": Choice(Reason),
        "owner": _AS_IT_IS,
        "family": Nullable(Choice(Family)),
    },
)
_PLANNED = Record(
    Requirement,
    {
        "transport": Choice(Transport),
        "ports": PORTS,
        "need": Choice(Need),
        "purpose": _AS_IT_IS,
        "source": _AS_IT_IS,
    },
)
_LISTENING: Mapping[str, Codec[Any]] = {
    "control": _AS_IT_IS,
    "listening": _RUNS,
    "untested": ListOf(_UNAVAILABLE),
    "capture": Derived(lambda event: not event.capture_unavailable),
    "tls": _AS_IT_IS,
    "paired": Derived(lambda event: event.key is not None),
    "key": Derived(lambda event: None if event.key_known else event.key),
    "root": Derived(lambda event: bool(event.root)),
    "planned": ListOf(_PLANNED),
    "notes": _LIST,
    "live": _AS_IT_IS,
    "halves": Derived(lambda event: _RUNS.encode(tuple((Transport.UDP, run) for run in event.partitions))),
}
_NOTE = Record(Note, {**dict.fromkeys(("code", "what", "breaks", "fix"), _AS_IT_IS), "commands": _LIST})
_STOPPING = Record(Service, {"name": _AS_IT_IS, "with": _LIST, "ports": _RUNS}, {"with": "members"})
_LEFT = Record(LeftRunning, {"owner": _AS_IT_IS, "ports": _RUNS, "why": _AS_IT_IS})

# Each event by its class: its word, and its keys in their order.
_EVENTS: Mapping[type, tuple[str, Record[Any]]] = {
    Listening: ("listening", Record(Listening, _LISTENING, {"untested": "unavailable"})),
    Notes: ("notes", Record(Notes, {"notes": ListOf(_NOTE), "fine": _LIST, "unknown": _LIST}, {"notes": "problems"})),
    events.SessionStarted: ("session", Record(events.SessionStarted, _CLIENT)),
    events.ReportReceived: ("report", Record(events.ReportReceived, {**_CLIENT, "report": REPORT})),
    events.ClientRefused: (
        "refused",
        Record(events.ClientRefused, {**_CLIENT, "error": PROBLEM}, {"error": "problem"}),
    ),
    events.ClientLost: ("lost", Record(events.ClientLost, _CLIENT)),
    events.EventsSuppressed: ("withheld", Record(events.EventsSuppressed, {"count": _AS_IT_IS})),
    events.StopPlan: (
        "services",
        Record(
            events.StopPlan,
            {"stopping": ListOf(_STOPPING), "left": ListOf(_LEFT), "seconds": _AS_IT_IS},
            {"stopping": "services"},
        ),
    ),
    ServiceTransition: (
        "service",
        Record(ServiceTransition, {"step": Choice(Step), "service": _AS_IT_IS, "why": _AS_IT_IS}),
    ),
    events.ServicesRestored: (
        "restored",
        Record(events.ServicesRestored, {"services": _LIST, "failed": _LIST}, {"services": "running"}),
    ),
    events.ServerStopped: ("stopped", Record(events.ServerStopped, {"why": _AS_IT_IS})),
}


def to_json(event: Event) -> dict[str, Any]:
    """Return an event as `server --json` prints it."""
    word, record = _EVENTS[type(event)]
    return {"event": word, **record.encode(event)}
