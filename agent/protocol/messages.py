"""The control channel's messages: one JSON object a line; the client asks and the server answers each ask once.

hello -> welcome; ask -> rows; ask-kernel -> kernel; report (in parts) -> received; bye; and where services go on
running on the server, take -> taken, ask-service -> service. Whatever cannot be answered gets a refusal. Where both
have a pairing key it is hello -> challenge, proof -> welcome, and from the proof on every line is signed (`pairing`).
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any, Mapping, Union

from ..core.address import Family
from ..core.codec import (
    PORTS,
    AddressText,
    Boolean,
    Choice,
    Codec,
    Integer,
    ListOf,
    Members,
    Nullable,
    Record,
    Row,
    Text,
    TupleOf,
    load_object,
)
from ..core.counters import MAX_COUNT, Counters, KernelStatus
from ..core.errors import DecodeError
from ..core.plan import Need, Plan, Requirement, Transport
from ..core.ports import HIGHEST, LOWEST, MAX_ITEMS, PortRange, find_overlap
from .pairing import NONCE_BYTES, Keys, derive

PROTOCOL = 3

# An operator's own list has at most MAX_ITEMS runs a transport, beside the add-ons.
MAX_REQUIREMENTS = 2 * MAX_ITEMS + 100
# So many rows fit into a line at their longest (three numbers of five digits, or a word, in 30 bytes).
MAX_ROWS = 1500
# A part of a report: JSON escapes at most double it, and that has to fit into a line.
MAX_REPORT_PART = 24 * 1024
# A finding takes about 380 bytes: enough for every other port of 10,001 blocked, little enough to keep for anybody.
MAX_REPORT = 4 * 1024 * 1024

# Addresses that one client's UDP probes come from: a carrier's NAT may take any of its pool's for each flow, if it does
# not do as RFC 4787, section 4.1, asks; more than that are hardly one client's.
MAX_SOURCES = 64

# The code of the refusal where somebody on the way opens the connection.
INTERCEPTED = "man-in-the-middle"
# Two parts are enough to leave a service half of its ports; more would only take longer.
MAX_PARTITIONS = 2
# Of what a service answers: more tells no more surely that it is the same.
MAX_REPLY_BYTES = 512
# A row's text: a word of this program's, or the name of a process that holds a port.
MAX_TEXT = 100
# Rows of such names at most, since each may take 600 bytes of JSON: more than this hold no server's ports.
MAX_OWNERS = 100


class PortTable(str, enum.Enum):
    """What a client may ask of its own session, port by port."""

    UNTESTED = "untested"  # why the server does not listen there
    OWNERS = "owners"  # who holds the busy ones, where the client is paired
    SIGHTINGS = "sightings"  # probes that were read from the port's socket
    AT_INTERFACE = "at-interface"  # probes that were seen at the server's network interface; of TCP, SYNs
    RECEIVE_DROPS = "overrun"  # UDP packets, anybody's, that found the port's receive buffer full
    UNANSWERED = "withheld"  # UDP probes that were read, and not answered: nobody confirmed where they came from
    ANSWERS_SENT = "left"  # UDP answers that left the server
    PLACES = "places"  # how far the packets to a TCP port came, in the words of Where
    CONNECTIONS = "connections"  # TCP connections from the client's address
    ACCEPTED_BEFORE = "let-in"  # TCP ports that accepted it shortly before; the control channel's is one
    REDIRECTED = "redirected"  # probes that came in at another port: at which
    SERVED = "served"  # ports that a service holds through which they can be tried: what it speaks, a ServiceProtocol
    PARTITIONS = "parts"  # UDP ports that are not held all at a time: to which part each belongs


class ServiceProtocol(str, enum.Enum):
    """What a service that goes on running speaks at its port."""

    HTTP = "http"
    TLS = "tls"
    FRAMED_STUN = "framed-stun"
    TURN = "turn"


@dataclass(frozen=True)
class Hello:
    """The client's first line."""

    protocol: int
    program: str
    family: Family  # of the address that it is going to check
    nonce: str | None = None  # 32 random hex digits, which say that it has a pairing key


@dataclass(frozen=True)
class Challenge:
    """The server has a pairing key too, and this is its nonce. From here on the lines are signed."""

    nonce: str


@dataclass(frozen=True)
class Proof:
    """The client knows the key, since this line is signed with it; `certificate` is the fingerprint of what it saw."""

    certificate: str


@dataclass(frozen=True)
class Welcome:
    """A session begins: its id and secret, the plan, and what the server can do."""

    protocol: int
    program: str
    session: str  # 16 hex digits
    secret: str | None  # 64 hex digits; None where the channel is paired: then it comes from the key and is not sent
    plan: Plan
    tls: bool  # the server has a certificate, so that its 443/tcp speaks TLS
    wildcard_bind: bool  # it listens on every address of its machine
    client: str  # the address that the server sees this client come from
    capture: bool  # it watches its network interfaces
    flows: int | None  # this one's share of what its own connection tracking has room for, None where nothing limits it
    certificate: str = ""  # the fingerprint of the one that it showed on this connection; empty without TLS
    live: bool = False  # services go on running there: ask for what is SERVED, and for PARTS


@dataclass(frozen=True)
class Refusal:
    """Why the other side does not go on, in words that the user sees."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class AskRows:
    """Asks for rows about one transport, from port `start` on."""

    table: PortTable
    transport: Transport
    start: int


@dataclass(frozen=True)
class Rows:
    """Runs of ports with one value each, ascending; `next` is where to ask on, None where this is all."""

    rows: tuple[tuple[PortRange, int | str], ...]
    next: int | None


@dataclass(frozen=True)
class AskKernel:
    """Asks what the server's kernel has room for, and what it dropped since the session began."""

    confirmed_sources: tuple[str, ...] = ()  # that an earlier reply named: this client's UDP probes may come from there
    nonces: tuple[str, ...] = ()  # that came with answers to such probes


@dataclass(frozen=True)
class KernelReply:
    """The server's kernel, and the addresses that the client's UDP probes came from and that it has yet to confirm."""

    kernel: KernelStatus
    other_sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class BindPartition:
    """Asks the server to hold the UDP ports of one part, and give those of the others back."""

    part: int


@dataclass(frozen=True)
class PartitionBound:
    """The part is held, but for what is UNTESTED."""


@dataclass(frozen=True)
class AskService:
    """Asks what passed the server's interface at a port that is SERVED, in the flow where the client's mark came."""

    transport: Transport
    port: int
    mark: str  # 16 to 64 random hex digits: bytes that stood in what the client sent
    certificate: str = ""  # the fingerprint of the one that the service showed; empty where it showed none


@dataclass(frozen=True)
class ServiceReply:
    """Whether the mark came; and how the service's first packet of data that left then begins, if one left."""

    arrived: bool
    size: int = 0
    digest: str = ""  # the SHA-256 of its first `size` bytes, in hex digits
    closed: bool = False  # the service ended the connection
    on_disk: bool | None = None  # whether the server's disk has this certificate for services; None: not known
    alive: bool = False  # the service of a UDP port that was silent answers the server itself


@dataclass(frozen=True)
class ReportPart:
    """A piece of the report's JSON."""

    text: str
    last: bool


@dataclass(frozen=True)
class Received:
    """The report came whole."""


@dataclass(frozen=True)
class Bye:
    """The client goes."""


Message = Union[
    Hello, Challenge, Proof, Welcome, Refusal, AskRows, Rows, AskKernel, KernelReply, BindPartition, PartitionBound,
    AskService, ServiceReply, ReportPart, Received, Bye,
]  # fmt: skip


def session_keys(key: str, hello: Hello, challenge: Challenge) -> Keys:
    """Return the keys that both sides derive from a pairing key and the two lines said in the clear."""
    return derive(key, encode(hello), encode(challenge))


def report_parts(text: str) -> list[ReportPart]:
    """Split a report's JSON into parts that fit into lines; none where it is longer than the other side takes."""
    if len(text) > MAX_REPORT:
        return []
    starts = range(0, len(text), MAX_REPORT_PART)
    return [ReportPart(text[start : start + MAX_REPORT_PART], start == starts[-1]) for start in starts]


def version_refusal(server: int, server_program: str, client: int, client_program: str) -> Refusal:
    """Return what both sides say when they speak different protocols."""
    what = (f"the server speaks protocol {server} (pnmcheck {server_program[:40]}), "
            f"the client speaks protocol {client} (pnmcheck {client_program[:40]})")  # fmt: skip
    return Refusal("version", what, "use the same pnmcheck.pyz on both sides")


def _hex(digits: str) -> Text:
    return Text(pattern=f"[0-9a-f]{digits}")


_WORD, _SENTENCE = Text(), Text(500)
_BOOLEAN = Boolean()
_TRANSPORT = Choice(Transport)
_PORT = Integer(LOWEST, HIGHEST)
_VERSION: Members = {"protocol": Integer(0, MAX_COUNT), "program": _WORD}
_COUNT = Nullable(Integer(0, MAX_COUNT))
_NONCE = _hex(f"{{{2 * NONCE_BYTES}}}")
_FINGERPRINT = Text(pattern="([0-9a-f]{64})?")
_SOURCES = ListOf(AddressText(canonical=True), MAX_SOURCES)

_REQUIREMENT = Row(
    Record(Requirement, {"transport": _TRANSPORT, "ports": PORTS, "purpose": _WORD, "need": Choice(Need)}),
    ("transport", "first", "last", "purpose", "need"),
    "requirement",
)


class _RowValue(Codec[Union[int, str]]):
    """What a row says of its ports: a number, or a word."""

    def decode(self, value: object, key: str = "") -> int | str:
        return (Text(MAX_TEXT) if isinstance(value, str) else Integer(0, MAX_COUNT)).decode(value)


_PORT_ROW = Row(TupleOf({"ports": PORTS, "value": _RowValue()}), ("first", "last", "value"), "row")


def _check_plan(plan: Plan) -> None:
    for transport in Transport:
        if find_overlap(row.ports for row in plan.of(transport)):
            raise DecodeError("a plan that names a port twice")


def _check_rows(page: Rows) -> None:
    ends = [port for ports, _ in page.rows for port in (ports.first, ports.last)]
    if ends != sorted(ends):
        raise DecodeError("rows that do not ascend")
    if page.next is not None and (len(page.rows) < MAX_ROWS or page.next <= ends[-1]):
        raise DecodeError("a next page behind one that is not full, or that does not ascend")


_PLAN: Members = {"name": _WORD, "requirements": ListOf(_REQUIREMENT, MAX_REQUIREMENTS)}
_COUNTERS = Record(Counters, dict.fromkeys(vars(Counters()), _COUNT), inline=True)
_KERNEL: Members = {"free_flows": _COUNT, "rate": Nullable(Integer(1, MAX_COUNT)), "counters": _COUNTERS}
_MARK = Text(pattern="([0-9a-f]{2}){8,32}")  # a STUN transaction, a token, or the random bytes of a hello

# Each message by its type, with its keys in their order.
CODECS: Mapping[str, Record[Any]] = {
    "hello": Record(Hello, {**_VERSION, "family": Choice(Family), "nonce": Nullable(_NONCE)}),
    "challenge": Record(Challenge, {"nonce": _NONCE}),
    "proof": Record(Proof, {"certificate": _FINGERPRINT}),
    "welcome": Record(Welcome, {
        **_VERSION, "session": _hex("{16}"), "secret": Nullable(_hex("{64}")),
        "plan": Record(Plan, _PLAN, check=_check_plan), "tls": _BOOLEAN, "everywhere": _BOOLEAN,
        "client": AddressText(canonical=True), "capture": _BOOLEAN, "flows": _COUNT, "certificate": _FINGERPRINT,
        "live": _BOOLEAN,
    }, {"everywhere": "wildcard_bind"}),
    "refusal": Record(Refusal, {"code": _WORD, "message": _SENTENCE, "hint": _SENTENCE}),
    "ask": Record(AskRows, {"about": Choice(PortTable), "transport": _TRANSPORT, "start": _PORT}, {"about": "table"}),
    "rows": Record(Rows, {"rows": ListOf(_PORT_ROW, MAX_ROWS), "next": Nullable(_PORT)}, check=_check_rows),
    "ask-kernel": Record(AskKernel, {"mine": _SOURCES, "nonces": ListOf(Text(12, "[0-9a-f]{12}"), MAX_SOURCES)},
                         {"mine": "confirmed_sources"}),
    "kernel": Record(KernelReply, {"kernel": Record(KernelStatus, _KERNEL, inline=True), "elsewhere": _SOURCES},
                     {"elsewhere": "other_sources"}),
    "take": Record(BindPartition, {"part": Integer(0, MAX_PARTITIONS - 1)}),
    "taken": Record(PartitionBound, {}),
    "ask-service": Record(AskService, {"transport": _TRANSPORT, "port": _PORT, "mark": _MARK,
                                       "certificate": _FINGERPRINT}),
    "service": Record(ServiceReply, {
        "arrived": _BOOLEAN, "size": Integer(0, MAX_REPLY_BYTES), "digest": _FINGERPRINT, "closed": _BOOLEAN,
        "on_disk": Nullable(_BOOLEAN), "alive": _BOOLEAN,
    }),
    "report": Record(ReportPart, {"text": Text(MAX_REPORT_PART), "last": _BOOLEAN}),
    "received": Record(Received, {}),
    "bye": Record(Bye, {}),
}  # fmt: skip
_TYPES = {codec.make: name for name, codec in CODECS.items()}
_ANY_VERSION = TupleOf(_VERSION)


def encode(message: Message) -> bytes:
    """Return a message as a line with its end."""
    kind = _TYPES[type(message)]
    line = {"type": kind, **CODECS[kind].encode(message)}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Read a line without its end; DecodeError for anything that is no message."""
    value = load_object(line)
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in CODECS:
        raise DecodeError("a message of no known type")
    if kind in ("hello", "welcome"):
        # Only the first two keys are for ever: the rest is this protocol's, and a peer of another one has to be told.
        protocol, program = _ANY_VERSION.decode(value)
        if protocol != PROTOCOL and kind == "hello":
            return Hello(protocol, program, Family.IPV4)
        if protocol != PROTOCOL:
            return version_refusal(protocol, program, PROTOCOL, "of this side")
    message: Message = CODECS[kind].decode(value)
    return message
