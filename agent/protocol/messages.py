"""The control channel's messages: one JSON object a line; the client asks and the server answers each ask once.

hello -> welcome; ask -> rows; ask-kernel -> kernel; report (in parts) -> received; bye; and where services go on
running on the server, take -> taken, ask-service -> service. Whatever cannot be answered gets a refusal. Where both
have a pairing key it is hello -> challenge, proof -> welcome, and from the proof on every line is sealed (`pairing`).
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import Any, Callable, Union

from ..core import fields
from ..core.address import MAX_ADDRESS, Family, parse_address
from ..core.counters import MAX_COUNT, Counters, KernelStatus
from ..core.errors import DecodeError
from ..core.fields import FieldError, Fields
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
# A finding takes about 380 bytes: enough for every other port of 10,001 blocked, little enough to keep for a stranger.
MAX_REPORT = 4 * 1024 * 1024

# Addresses that one client's UDP probes come from: a carrier's NAT may take any of its pool's for each flow, if it does
# not do as RFC 4787, section 4.1, asks; more than that are hardly one client's.
MAX_SOURCES = 64

_SESSION = re.compile(r"[0-9a-f]{16}")
_SECRET = re.compile(r"[0-9a-f]{64}")
_CHANCE = re.compile(rf"[0-9a-f]{{{2 * NONCE_BYTES}}}")
_FINGERPRINT = re.compile(r"([0-9a-f]{64})?")
_NONCE = re.compile(r"[0-9a-f]{12}")
_MARK = re.compile(r"([0-9a-f]{2}){8,32}")  # a STUN transaction, a token, or the chance in a TLS hello
_MAX_COUNT = 10**9
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
    """The client's first line; `family` is that of the address that it is going to check.

    `nonce`, 32 hex digits of chance, says that it has a pairing key.
    """

    protocol: int
    program: str
    family: Family
    nonce: str | None = None


@dataclass(frozen=True)
class Challenge:
    """The server has a pairing key too, and this is its nonce. From here on the lines are sealed."""

    nonce: str


@dataclass(frozen=True)
class Proof:
    """The client knows the key, since this line is sealed with it; `certificate` is the fingerprint of what it saw."""

    certificate: str


@dataclass(frozen=True)
class Welcome:
    """A session begins: its id, 16 hex digits, its secret, 64 hex digits, the plan, and the server's own TLS.

    Where the channel is paired, the secret comes from the key and is not sent.
    """

    protocol: int
    program: str
    session: str
    secret: str | None
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
    """Ask what the server's kernel has room for, and what it dropped since the session began; answer: KernelReply.

    `confirmed_sources` are addresses that an earlier reply named: UDP probes of this client may come from there.
    `nonces` are those that came with answers to such probes.
    """

    confirmed_sources: tuple[str, ...] = ()
    nonces: tuple[str, ...] = ()


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
    """Asks what passed the server's interface at a port that is SERVED, in the flow where the client's `mark` came.

    `mark`, 16 to 64 hex digits of chance, are bytes that stood in what the client sent. `certificate` is the
    fingerprint of the one that the service showed; empty where it showed none.
    """

    transport: Transport
    port: int
    mark: str
    certificate: str = ""


@dataclass(frozen=True)
class ServiceReply:
    """Whether the mark came; and how the service's first packet of data that left then begins, if one left.

    `digest` is the SHA-256 of its first `size` bytes in hex digits; `closed` whether the service ended the connection.
    `on_disk` says whether the certificate is one of those that the server's disk has for services; None where that is
    not known. `alive` is whether the service of a UDP port that was silent answers the server itself.
    """

    arrived: bool
    size: int = 0
    digest: str = ""
    closed: bool = False
    on_disk: bool | None = None
    alive: bool = False


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


def encode(message: Message) -> bytes:
    """A message as a line with its end."""
    body = _ENCODERS[type(message)](message) if type(message) in _ENCODERS else vars(message)
    line = {"type": _NAMES[type(message)], **body}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Read a line without its end; DecodeError for anything that is no message."""
    try:
        value = fields.parse(line)
        decoder = _DECODERS.get(value.text("type"))
        if decoder is None:
            raise FieldError("a message of no known type")
        return decoder(value)
    except FieldError as error:
        raise DecodeError(str(error)) from None


def session_keys(key: str, hello: Hello, challenge: Challenge) -> Keys:
    """The keys that both sides make of a pairing key and the two lines that they said in the clear."""
    return derive(key, encode(hello), encode(challenge))


def report_parts(text: str) -> list[ReportPart]:
    """A report's JSON in parts that fit into lines; none where it is longer than the other side takes."""
    if len(text) > MAX_REPORT:
        return []
    starts = range(0, len(text), MAX_REPORT_PART)
    return [ReportPart(text[start : start + MAX_REPORT_PART], start == starts[-1]) for start in starts]


def _encode_welcome(welcome: Welcome) -> dict[str, Any]:
    rows = [[row.transport.value, row.ports.first, row.ports.last, row.purpose, row.need.value]
            for row in welcome.plan.requirements]  # fmt: skip
    plain = {"everywhere" if key == "wildcard_bind" else key: value for key, value in vars(welcome).items()}
    return {**plain, "plan": {"name": welcome.plan.name, "requirements": rows}}


def _decode_hello(value: Fields) -> Hello:
    # Only the first two are for ever: the rest is this protocol's, and a peer of another one has to be told.
    protocol, program = value.integer("protocol", 0, _MAX_COUNT), value.text("program")
    family = value.choice("family", Family) if protocol == PROTOCOL else Family.IPV4
    nonce = value.optional("nonce", lambda key: _matching(_CHANCE, value.text(key))) if protocol == PROTOCOL else None
    return Hello(protocol, program, family, nonce)


def version_refusal(server: int, server_program: str, client: int, client_program: str) -> Refusal:
    """What both sides say when they speak different protocols."""
    return Refusal(
        "version",
        f"the server speaks protocol {server} (pnmcheck {server_program[:40]}), "
        f"the client speaks protocol {client} (pnmcheck {client_program[:40]})",
        "use the same pnmcheck.pyz on both sides",
    )


def _decode_welcome(value: Fields) -> Welcome | Refusal:
    protocol, program = value.integer("protocol", 0, _MAX_COUNT), value.text("program")
    if protocol != PROTOCOL:
        return version_refusal(protocol, program, PROTOCOL, "of this side")
    plan = value.object("plan")
    requirements = plan.list("requirements", _decode_requirement, MAX_REQUIREMENTS)
    for transport in Transport:
        if find_overlap(row.ports for row in requirements if row.transport is transport):
            raise FieldError("a plan that names a port twice")
    return Welcome(
        protocol,
        program,
        _matching(_SESSION, value.text("session")),
        value.optional("secret", lambda key: _matching(_SECRET, value.text(key))),
        Plan(plan.text("name"), requirements),
        value.boolean("tls"),
        value.boolean("everywhere"),
        _address(value.text("client", MAX_ADDRESS)),
        value.boolean("capture"),
        _count(value, "flows"),
        _matching(_FINGERPRINT, value.text("certificate")),
        value.boolean("live"),
    )


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except ValueError:
        raise FieldError("not an IP address") from None


def _addresses(value: Fields, key: str) -> tuple[str, ...]:
    return value.list(key, lambda item: _address(fields.text(item, MAX_ADDRESS)), MAX_SOURCES)


def _decode_requirement(row: object) -> Requirement:
    if not isinstance(row, list) or len(row) != 5:
        raise FieldError("not a requirement")
    value = Fields(dict(zip(("transport", "first", "last", "purpose", "need"), row)))
    return Requirement(
        value.choice("transport", Transport), _run(row[1], row[2]), value.text("purpose"), value.choice("need", Need)
    )


def _encode_rows(rows: Rows) -> dict[str, Any]:
    return {"rows": [[ports.first, ports.last, value] for ports, value in rows.rows], "next": rows.next}


def _decode_rows(value: Fields) -> Rows:
    rows = value.list("rows", _decode_row, MAX_ROWS)
    ends = [port for ports, _ in rows for port in (ports.first, ports.last)]
    if ends != sorted(ends):
        raise FieldError("rows that do not ascend")
    following = value.optional("next", lambda key: value.integer(key, LOWEST, HIGHEST))
    if following is not None and (len(rows) < MAX_ROWS or following <= ends[-1]):
        raise FieldError("a next page behind one that is not full, or that does not ascend")
    return Rows(rows, following)


def _decode_row(row: object) -> tuple[PortRange, int | str]:
    if not isinstance(row, list) or len(row) != 3:
        raise FieldError("not a row")
    value: int | str = (
        fields.text(row[2], MAX_TEXT) if isinstance(row[2], str) else fields.integer(row[2], 0, _MAX_COUNT)
    )
    return _run(row[0], row[1]), value


def _run(first: object, last: object) -> PortRange:
    start = fields.integer(first, LOWEST, HIGHEST)
    return PortRange(start, fields.integer(last, start, HIGHEST))


def _count(value: Fields, key: str) -> int | None:
    return value.optional(key, lambda key: value.integer(key, 0, MAX_COUNT))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise FieldError("not of the form that it has to have")
    return text


_NAMES: dict[type, str] = {
    Hello: "hello", Challenge: "challenge", Proof: "proof", Welcome: "welcome", Refusal: "refusal",
    AskRows: "ask", Rows: "rows", AskKernel: "ask-kernel", KernelReply: "kernel",
    BindPartition: "take", PartitionBound: "taken", AskService: "ask-service", ServiceReply: "service",
    ReportPart: "report", Received: "received", Bye: "bye",
}  # fmt: skip

_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Welcome: _encode_welcome,
    Rows: _encode_rows,
    AskRows: lambda ask: {"about": ask.table, "transport": ask.transport, "start": ask.start},
    AskKernel: lambda ask: {"mine": ask.confirmed_sources, "nonces": ask.nonces},
    KernelReply: lambda pong: {
        "free_flows": pong.kernel.free_flows,
        "rate": pong.kernel.rate,
        **vars(pong.kernel.counters),
        "elsewhere": pong.other_sources,
    },
}

_DECODERS: dict[str, Callable[[Fields], Message]] = {
    _NAMES[Hello]: _decode_hello,
    _NAMES[Challenge]: lambda value: Challenge(_matching(_CHANCE, value.text("nonce"))),
    _NAMES[Proof]: lambda value: Proof(_matching(_FINGERPRINT, value.text("certificate"))),
    _NAMES[Welcome]: _decode_welcome,
    _NAMES[Refusal]: lambda value: Refusal(value.text("code"), value.text("message", 500), value.text("hint", 500)),
    _NAMES[AskRows]: lambda value: AskRows(
        value.choice("about", PortTable), value.choice("transport", Transport), value.integer("start", LOWEST, HIGHEST)
    ),
    _NAMES[Rows]: _decode_rows,
    _NAMES[AskKernel]: lambda value: AskKernel(
        _addresses(value, "mine"),
        value.list("nonces", lambda item: _matching(_NONCE, fields.text(item, 12)), MAX_SOURCES),
    ),
    _NAMES[KernelReply]: lambda value: KernelReply(
        KernelStatus(
            _count(value, "free_flows"),
            Counters(*(_count(value, name) for name in vars(Counters()))),
            value.optional("rate", lambda key: value.integer(key, 1, MAX_COUNT)),
        ),
        _addresses(value, "elsewhere"),
    ),
    _NAMES[BindPartition]: lambda value: BindPartition(value.integer("part", 0, MAX_PARTITIONS - 1)),
    _NAMES[PartitionBound]: lambda value: PartitionBound(),
    _NAMES[AskService]: lambda value: AskService(
        value.choice("transport", Transport),
        value.integer("port", LOWEST, HIGHEST),
        _matching(_MARK, value.text("mark")),
        _matching(_FINGERPRINT, value.text("certificate")),
    ),
    _NAMES[ServiceReply]: lambda value: ServiceReply(
        value.boolean("arrived"),
        value.integer("size", 0, MAX_REPLY_BYTES),
        _matching(_FINGERPRINT, value.text("digest")),
        value.boolean("closed"),
        value.optional("on_disk", value.boolean),
        value.boolean("alive"),
    ),
    _NAMES[ReportPart]: lambda value: ReportPart(value.text("text", MAX_REPORT_PART), value.boolean("last")),
    _NAMES[Received]: lambda value: Received(),
    _NAMES[Bye]: lambda value: Bye(),
}
