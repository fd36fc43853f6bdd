"""The one table of what is tried with any bytes: each decoder, and what has to hold of what it gives."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from dataclasses import dataclass, replace
from typing import Callable, Iterable, Iterator

from agent.config import flat_yaml, haproxy
from agent.core import codec, report_json
from agent.core.address import Family
from agent.core.errors import DecodeError, UserError
from agent.core.events import Event, Notes, ReportReceived
from agent.core.plan import Transport, build_plan
from agent.core.ports import PortRange
from agent.core.report import Report
from agent.firewall import iptables, managers, nft_text, nftables, ufw
from agent.firewall.evaluate import evaluate
from agent.firewall.matching import Flow
from agent.firewall.model import HostFacts, UnreadableRules
from agent.firewall.operator_report import add_operator_advice
from agent.output import event_json, events, text
from agent.output.style import Style
from agent.packet import icmp, interceptor, ip, printable, x509
from agent.preflight.evaluate import check_report
from agent.protocol import first_bytes, framing, http_proof, messages, pairing, stun
from agent.system import counters, interfaces
from tests.fuzz import seeds
from tests.fuzz.seeds import KEY, PORT, SESSION, TRANSACTION
from tests.server.memory import Conversation, MemoryServer

LINE = framing.MAX_LINE
LISTING = 1024 * 1024  # of a tool's output, which may be longer; time and memory grow with it evenly


@dataclass(frozen=True)
class Target:
    """A decoder, the one exception that it may raise, sound inputs, and the longest that its caller hands it.

    `share` is how many of a long run's inputs it gets: few where much has to be done for each.
    """

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    most: int
    raises: type[Exception] | tuple[()] = ()
    share: int = 100


def attempt(target: Target, data: bytes) -> None:
    """Read any bytes; whatever is raised is a fault."""
    try:
        target.read(data)
    except target.raises:
        pass


def probe_at_first_sight(data: bytes) -> stun.Request | None:
    try:
        return stun.decode_probe(data, {SESSION: KEY}.get)
    except DecodeError:
        return None


def probe_on_reading(data: bytes) -> stun.Request | None:
    try:
        message = stun.decode(data)
        request = stun.decode_request(message)
    except DecodeError:
        return None
    return request if request.username == SESSION and stun.verify(message, KEY) else None


def is_answer_on_reading(data: bytes) -> bool:
    try:
        message = stun.decode(data)
    except DecodeError:
        return False
    is_answer = message.kind == stun.Kind.SUCCESS and message.transaction == TRANSACTION
    return is_answer and stun.verify(message, KEY)


def agrees(data: bytes) -> bool:
    """Whether a message is taken at first sight for what it is taken for on reading all of it."""
    same_probe = probe_at_first_sight(data) == probe_on_reading(data)
    return same_probe and stun.is_answer(data, TRANSACTION, KEY) == is_answer_on_reading(data)


def _stun(data: bytes) -> None:
    assert agrees(data)
    message = stun.decode(data)
    for read in (stun.decode_request, stun.mapped_address):
        try:
            read(message)
        except DecodeError:
            pass


def _pieces(data: bytes) -> Iterator[bytes]:
    """A stream in pieces as long as its first byte says, or in lines."""
    size, stream = (data[0], data[1:]) if data else (1, b"")
    if size:
        yield from (stream[at : at + size] for at in range(0, len(stream), size))
    else:
        yield from filter(None, stream.replace(b"\n", b"\n\0").split(b"\0"))


def _cut(make: Callable[[], framing.Frames | framing.Lines]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        """In whatever pieces it comes, it is cut into the same."""
        cutter = make()
        found = [one for piece in _pieces(data) for one in cutter.feed(piece)]
        assert found == make().feed(b"".join(_pieces(data)))

    return read


def _http_answer(data: bytes) -> None:
    http_proof.is_proof(data, seeds.PROOF)
    http_proof.is_proof_for_other_certificate(data, seeds.PROOF)
    http_proof.may_become_proof(data, seeds.PROOF)


def _first_bytes(data: bytes) -> None:
    first_bytes.is_tls(data)
    first_bytes.detect_protocol(data or b"\0")


def _rows(data: bytes) -> None:
    rows = messages.decode(b'{"type":"rows","rows":' + data + b"}")
    assert not isinstance(rows, messages.Rows) or len(rows.rows) <= messages.MAX_ROWS


def _icmp(data: bytes) -> None:
    version, kind, code = (*data, 0, 0, 0)[:3]
    icmp.describe_refusal(version, kind, code)
    icmp.is_expired(version, kind, code)


def _packet(data: bytes) -> None:
    server, _ = _begun()
    for leaves in (True, False):
        server.core.packet(data, leaves, "eth0")
    ip.decode(data)


def _stranger(data: bytes) -> None:
    """A certificate of so many bytes as the first says, and an answer."""
    size = data[0] if data else 0
    certificate, answer = data[1 : 1 + size], data[1 + size :]
    for ours in (True, False):
        _is_plain(interceptor.identify(answer, "meet.example.com", certificate, ours).shown, interceptor.MAX_SHOWN)


def _shown(data: bytes) -> None:
    _is_plain(printable.first_line(data), printable.MAX_CHARACTERS)
    _is_plain(printable.describe_reply(data, b""), printable.MAX_CHARACTERS)


def _is_plain(line: str, most: int) -> None:
    assert line.isascii()
    assert line.isprintable() or not line
    assert len(line) <= most


def _names(data: bytes) -> None:
    names = x509.names(data)
    for name in (names.subject, names.issuer):
        _is_plain(name, printable.MAX_CHARACTERS)
    with contextlib.suppress(DecodeError):
        for name in x509.validity(data)[1]:
            _is_plain(name, x509.MAX_NAME)


PLAN = build_plan("plugnmeet")
CLIENT = ipaddress.ip_address("192.0.2.1")
STYLES = (Style(unicode=True), Style(width=40))


def _is_safe(words: str) -> None:
    """Nothing that a terminal obeys."""
    assert all(char.isprintable() or char == "\n" for char in words)


def _report(data: bytes) -> None:
    _show(report_json.decode(data.decode("utf-8", "surrogateescape")))


def _show(report: Report) -> None:
    """As the server's terminal and its JSON have it."""
    _tell(Notes(check_report(report, 0.0, {Family.IPV4: CLIENT})))
    told = add_operator_advice(report, HostFacts(), PLAN)
    for style in STYLES:
        _is_safe(text.render(told, style))
    report_json.decode(report_json.encode(report))
    json.dumps(report_json.to_json(told), allow_nan=False)


def _tell(notice: Event) -> None:
    json.dumps(event_json.to_json(notice), allow_nan=False)
    for style in STYLES:
        _is_safe(events.to_text(notice, style))
    if isinstance(notice, ReportReceived):
        _show(notice.report)


def _begun(key: str | None = None) -> tuple[MemoryServer, Conversation]:
    server = MemoryServer(PLAN, random_bytes=bytes, capture=True, key=key)
    return server, server.connect(port=PORT)


def converse(data: bytes, key: str | None = None) -> None:
    """One connection to the server: what it is told, and what the server tells of it."""
    server, conversation = _begun(key)
    for piece in _pieces(data):
        if conversation.closing:
            break
        sent = conversation.receive(piece, 1.0)
        assert len(sent) <= max(LINE, len(piece))
        if sent[:1] == b"{":
            messages.decode(sent[:-1])
    conversation.closed()
    for notice in server.take_events():
        _tell(notice)
    assert not server.sessions


def _paired(data: bytes) -> None:
    converse(data, seeds.PAIRING_KEY)


def _pairing_key(data: bytes) -> None:
    key = pairing.read_key(data.decode("utf-8", "replace"))
    assert pairing.read_key(key) == key
    assert key.isprintable()


def _sealed(data: bytes) -> None:
    line = pairing.RecordAuthenticator(KEY, KEY).verify(data)
    assert pairing.RecordAuthenticator(KEY, KEY).sign(line) == data


def _flow(family: Family) -> Flow:
    return Flow(Transport.UDP, family, (PortRange(443, 443), PortRange(50000, 60000)), CLIENT, None, "eth0")


FLOWS = (_flow(Family.IPV4), replace(_flow(Family.IPV6), client=None))


def _nft(listing: str) -> None:
    rules = nftables.read(listing)
    for flow in FLOWS:
        evaluate(rules, flow)


def _iptables(listing: str) -> None:
    for flow in FLOWS:
        evaluate(iptables.read(listing, flow.family), flow)


def _ufw(listing: str) -> None:
    ufw.filters_ipv6(ufw.parse_status(listing) or (), listing)


def _firewalld(listing: str) -> None:
    managers.parse_active(listing)
    managers.zone_of(managers.Zones((managers.parse_zone("public", listing),)), CLIENT, "eth0")


def _fail2ban(listing: str) -> None:
    managers.parse_jails(listing)
    list(managers.parse_bans("sshd", listing, CLIENT))


def _kernel(listing: str) -> None:
    numbers = (counters.free_flows(listing, listing), counters.conntrack_drops(listing),
               counters.receive_errors(listing, listing))  # fmt: skip
    assert all(number is None or number >= 0 for number in numbers)


def _interfaces(listing: str) -> None:
    for address in (*interfaces.parse_fib_trie(listing), *interfaces.parse_if_inet6(listing)):
        ipaddress.ip_address(address)


def _ip_address(listing: str) -> None:
    interfaces.parse_interfaces(listing)


def _yaml(text: str) -> None:
    document = flat_yaml.read_yaml(text, "it")
    nodes = [document.text("rtc", "tcp_port"), *document.texts("rtc", "stun_servers")]
    for name in document.entries("services"):
        path = ("services", name, "command")
        nodes += document.texts(*path) if document.is_list(*path) else [document.text(*path)]
    assert all(1 <= node.line <= text.count("\n") + 1 for node in nodes if node)


def _haproxy(text: str) -> None:
    for bind in haproxy.parse_haproxy(text, "it"):
        assert 1 <= bind.line <= text.count("\n") + 1


def _tool(
    read: Callable[[str], object], sound: Iterable[str], raises: type[Exception] | tuple[()] = (), share: int = 100
) -> Target:
    """A reader of what a tool prints, which is decoded as `host.tools` does."""
    seeded = tuple(map(str.encode, sound))
    return Target(lambda data: read(data.decode("utf-8", "replace")), seeded, LISTING, raises, share)


TARGETS: dict[str, Target] = {
    "stun": Target(_stun, (seeds.PROBE, seeds.LARGE_PROBE, *seeds.ANSWERS), stun.MAX_BYTES + 1, DecodeError),
    "frames": Target(
        _cut(lambda: framing.Frames(stun.MAX_BYTES)), (b"\x20" + framing.frame(seeds.PROBE) * 2,), LINE, DecodeError
    ),
    "lines": Target(_cut(framing.Lines), (b"\x40" + b"\n".join(seeds.LINES),), LINE, DecodeError),
    "json": Target(codec.load_object, (*seeds.LINES, seeds.REPORT_TEXT.encode()), messages.MAX_REPORT, DecodeError),
    "control": Target(messages.decode, seeds.LINES, LINE, DecodeError),
    "sightings": Target(
        _rows, tuple(messages.encode(rows)[:-2].partition(b'"rows":')[2] for rows in seeds.ROWS), LINE, DecodeError
    ),
    "report": Target(_report, (seeds.REPORT_TEXT.encode(),), messages.MAX_REPORT, DecodeError),
    "http request": Target(http_proof.decode_request, (seeds.HTTP,), LINE, DecodeError),
    "http answer": Target(_http_answer, seeds.HTTP_ANSWERS, http_proof.MAX_ANSWER),
    "first bytes": Target(_first_bytes, (seeds.PROBE, seeds.HTTP, seeds.TLS_HELLO), LINE, DecodeError),
    "packet": Target(_packet, seeds.PACKETS, LINE, DecodeError, share=6),
    "icmp": Target(_icmp, (b"\4\3\3", b"\6\1\4"), 64),
    "x509": Target(_names, seeds.CERTIFICATES, x509.MAX_CERTIFICATE + 1, DecodeError),
    "stranger": Target(
        _stranger,
        (*(b"\0" + one for one in seeds.STRANGERS), *(b"\xff" + one for one in seeds.CERTIFICATES)),
        http_proof.MAX_ANSWER,
    ),
    "shown": Target(_shown, (*seeds.STRANGERS, seeds.PROBE), http_proof.MAX_ANSWER),
    "conversation": Target(converse, seeds.CONVERSATIONS, LINE, share=6),
    "paired conversation": Target(_paired, seeds.PAIRED_CONVERSATIONS, LINE, share=6),
    "pairing key": Target(_pairing_key, seeds.PAIRING_KEYS, 4 * pairing.MOST_CHARACTERS, DecodeError),
    "sealed line": Target(_sealed, (seeds.SEALED,), LINE, DecodeError),
    "nft": _tool(_nft, seeds.NFT, UnreadableRules, share=2),
    "nft text": _tool(nft_text.parse_listing, seeds.NFT_TEXT),
    "iptables": _tool(_iptables, seeds.IPTABLES, UnreadableRules, share=1),
    "ufw": _tool(_ufw, seeds.UFW, ValueError),
    "firewalld": _tool(_firewalld, seeds.FIREWALLD),
    "fail2ban": _tool(_fail2ban, seeds.FAIL2BAN),
    "kernel": _tool(_kernel, seeds.KERNEL),
    "interfaces": _tool(_interfaces, seeds.INTERFACES),
    "ip address": _tool(_ip_address, seeds.IP_ADDRESS, ValueError),
    "yaml": _tool(_yaml, seeds.YAML, UserError),
    "haproxy": _tool(_haproxy, seeds.HAPROXY, UserError),
}
