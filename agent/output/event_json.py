"""What the server reports while it runs, as the JSON objects of `server --json`.

Its keys and words are relied on: never rename or remove one. These lines are only written, so their codecs have no
bounds.
"""

from __future__ import annotations

from typing import Any, Mapping

from ..core import events
from ..core.address import Family
from ..core.codec import PORTS, Choice, Codec, Derived, ListOf, Nullable, Record, TupleOf
from ..core.observation import Reason
from ..core.plan import Need, Requirement, Transport
from ..core.report_json import PROBLEM, REPORT

_AS_IT_IS: Codec[Any] = Codec()
_LIST = ListOf(_AS_IT_IS)
_RUNS = ListOf(TupleOf({"transport": Choice(Transport), "ports": PORTS}))
_CLIENT = {"client": Derived(lambda event: str(event.client))}
_UNAVAILABLE = Record(events.Unavailable, {
    "transport": Choice(Transport), "ports": PORTS, "reason": Choice(Reason), "owner": _AS_IT_IS,
    "family": Nullable(Choice(Family)),
})  # fmt: skip
_PLANNED = Record(
    Requirement,
    {"transport": Choice(Transport), "ports": PORTS, "need": Choice(Need), "purpose": _AS_IT_IS, "source": _AS_IT_IS},
)
_LISTENING = Record(events.Listening, {
    "control": _AS_IT_IS, "listening": _RUNS, "untested": ListOf(_UNAVAILABLE),
    "capture": Derived(lambda event: not event.capture_unavailable), "tls": _AS_IT_IS,
    "paired": Derived(lambda event: event.key is not None),
    "key": Derived(lambda event: None if event.key_known else event.key),
    "root": Derived(lambda event: bool(event.root)), "planned": ListOf(_PLANNED), "notes": _LIST, "live": _AS_IT_IS,
    "halves": Derived(lambda event: _RUNS.encode(tuple((Transport.UDP, run) for run in event.partitions))),
}, {"untested": "unavailable"})  # fmt: skip
_NOTE = Record(events.Note, {**dict.fromkeys(("code", "what", "breaks", "fix"), _AS_IT_IS), "commands": _LIST})
_NOTES = {"notes": ListOf(_NOTE), "fine": _LIST, "unknown": _LIST}
_SERVICE = Record(events.Service, {"name": _AS_IT_IS, "with": _LIST, "ports": _RUNS}, {"with": "members"})
_LEFT = Record(events.LeftRunning, {"owner": _AS_IT_IS, "ports": _RUNS, "why": _AS_IT_IS})
_STOP_PLAN = {"stopping": ListOf(_SERVICE), "left": ListOf(_LEFT), "seconds": _AS_IT_IS}
_TRANSITION = {"step": Choice(events.Step), "service": _AS_IT_IS, "why": _AS_IT_IS}

# Each event's word, and its keys in their order.
_EVENTS: Mapping[str, Record[Any]] = {
    "listening": _LISTENING,
    "notes": Record(events.Notes, _NOTES, {"notes": "problems"}),
    "session": Record(events.SessionStarted, _CLIENT),
    "report": Record(events.ReportReceived, {**_CLIENT, "report": REPORT}),
    "refused": Record(events.ClientRefused, {**_CLIENT, "error": PROBLEM}, {"error": "problem"}),
    "lost": Record(events.ClientLost, _CLIENT),
    "withheld": Record(events.EventsSuppressed, {"count": _AS_IT_IS}),
    "services": Record(events.StopPlan, _STOP_PLAN, {"stopping": "services"}),
    "service": Record(events.ServiceTransition, _TRANSITION),
    "restored": Record(events.ServicesRestored, {"services": _LIST, "failed": _LIST}, {"services": "running"}),
    "stopped": Record(events.ServerStopped, {"why": _AS_IT_IS}),
}
_WORDS = {record.make: word for word, record in _EVENTS.items()}


def to_json(event: events.Event) -> dict[str, Any]:
    """Return an event as `server --json` prints it."""
    word = _WORDS[type(event)]
    return {"event": word, **_EVENTS[word].encode(event)}
