"""Sound messages of every kind, to begin from."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace

from agent.model import report as reports
from agent.model.address import Family
from agent.model.kernel import Counters, Kernel
from agent.model.plan import Transport, build_plan
from agent.model.ports import PortRange
from agent.wire import control, framing, http_proof, pairing, stun
from tests.host.goldens import FOLDER, golden
from tests.host.test_interfaces import FIB_TRIE, IF_INET6
from tests.host.test_xdp import LINKS
from tests.model.test_report import REPORT
from tests.wire.test_packet import extended, ipv4, ipv6, tcp, udp
from tests.wire.test_stranger import http
from tests.wire.test_x509 import EMPTY, GOOD, NOBODY, certificate, extensions, item

# A session's, as the desk of `targets.converse` draws them.
SESSION, KEY = "0" * 16, b"0" * 64
TRANSACTION = bytes(range(12))
PORT = 80

PROBE = stun.encode_request(stun.Request(SESSION, TRANSACTION, PORT), KEY)
LARGE_PROBE = stun.encode_request(stun.Request(SESSION, TRANSACTION, PORT, stun.PADDING), KEY)
ANSWERS = tuple(stun.encode_answer(TRANSACTION, ipaddress.ip_address(address), 4000, KEY)
                for address in ("192.0.2.1", "2001:db8::1"))  # fmt: skip

HELLO = control.Hello(control.PROTOCOL, "0.1.0", Family.IPV6)
ROWS = (
    control.Rows(((PortRange(1, 5), 3), (PortRange(7, 7), "busy")), None),
    control.Rows(tuple((PortRange(port, port), port % 2) for port in range(1, control.MAX_ROWS + 1)), 2000),
)
MESSAGES: tuple[control.Message, ...] = (
    HELLO,
    control.Welcome(
        control.PROTOCOL, "0.1.0", SESSION, SESSION * 4, build_plan("plugnmeet"), True, True, "192.0.2.1", True, 7600
    ),
    control.Refusal("crowded", "too many", "wait"),
    *(control.Ask(about, Transport.UDP, 1) for about in control.About),
    ROWS[0],
    control.AskKernel(("192.0.2.1",), ("0123456789ab",)),
    control.Pong(Kernel(7600, Counters(3, None, 2)), ("2001:db8::1",)),
    control.Take(1),
    control.Taken(),
    control.AskService(Transport.TCP, 443, "0123456789abcdef" * 4),
    control.Service(True, 300, "0123456789abcdef" * 4, True),
    control.ReportPart("{}", True),
    control.Received(),
    control.Bye(),
)
LINES = tuple(control.encode(message)[:-1] for message in MESSAGES)
REPORT_TEXT = reports.dumps(REPORT)

TOKEN = http_proof.make_token(SESSION, PORT, "0" * 16, KEY)
HTTP = http_proof.encode_request("meet.example.com", TOKEN)
PROOF = http_proof.proof(TOKEN, b"", KEY)
HTTP_ANSWERS = (
    http_proof.encode_answer(PROOF),
    http_proof.encode_answer(http_proof.proof(TOKEN, b"another", KEY)),
    http_proof.encode_answer(None),
)
TLS_HELLO = b"\x16\x03\x01\0\x05\x01\0\0\x01\x03"


def _conversations() -> tuple[bytes, ...]:
    asks = [one for one in MESSAGES if isinstance(one, (control.Ask, control.AskKernel))]
    whole = (HELLO, *asks, *control.report_parts(REPORT_TEXT), control.Bye())
    streams = (
        b"".join(map(control.encode, whole)),
        control.encode(HELLO) + b"".join(map(control.encode, control.report_parts('"' * (control.MAX_PART + 9)))),
        HTTP,
        framing.frame(PROBE) * 2,
        TLS_HELLO,
    )
    return tuple(how + stream for how in (b"\0", b"\x40") for stream in streams)


CONVERSATIONS = _conversations()

PAIRING_KEY = pairing.make_key(bytes(range(pairing.KEY_BYTES)))
PAIRING_KEYS = (PAIRING_KEY.encode(), b"correct horse battery staple")


def _paired() -> tuple[bytes, ...]:
    """What a client with the key says to a server whose chance is all zeros, and what one without says."""
    hello, challenge = replace(HELLO, nonce="1" * 32), control.Challenge("0" * 32)
    keys = control.session_keys(PAIRING_KEY, hello, challenge)
    seals = pairing.Seals(keys.client, keys.server)
    whole: tuple[control.Message, ...] = (
        control.Proof(""),
        control.AskKernel(),
        *control.report_parts(REPORT_TEXT),
        control.Bye(),
    )
    sealed = b"".join(seals.seal(control.encode(message)) for message in whole)
    streams = (control.encode(hello) + sealed, control.encode(hello) * 2, control.encode(HELLO))
    return tuple(how + stream for how in (b"\0", b"\x40") for stream in streams)


PAIRED_CONVERSATIONS = _paired()
SEALED = pairing.Seals(KEY, KEY).seal(LINES[0] + b"\n")[:-1]

PACKETS = (
    ipv4(udp(PROBE, PORT)),
    ipv4(tcp(payload=HTTP), 6),
    ipv6(udp(PROBE)),
    extended(0, 43, 44, 51, 60, data=udp(PROBE)),
    extended(60, data=tcp(), last=6),
)
CERTIFICATES = (
    GOOD,
    certificate(*NOBODY, EMPTY, EMPTY,
                extensions(item(0x30, item(6, b"\x55\x1d\x11"), item(4, item(0x30, item(0x82, b"meet.example")))))),
)  # fmt: skip
STRANGERS = (
    http("302 Found", "Server: nginx", "Location: https://portal.example/login?from=meet"),
    http("200 OK", "Via: 1.1 proxy", "CF-Ray: 1", "Age: 7", body='<meta http-equiv="refresh" content="0; url=//x.y/">'),
    http("407 Proxy Authentication Required", "Proxy-Authenticate: Basic", "X-Squid-Error: ERR_ACCESS_DENIED 0"),
    b"\x15\x03\x03\0\x02\x02\x28",
    b"SSH-2.0-OpenSSH_9.6p1\r\n",
)


def _nft() -> tuple[str, ...]:
    """Each rule of the real listings in one of its own, with the sets of its table."""
    found = []
    for path in sorted(FOLDER.glob("*.nft.json")):
        items = json.loads(path.read_text(encoding="utf-8"))["nftables"]
        rules = [item["rule"] for item in items if "rule" in item]
        for rule in rules[:40]:
            table, chain = rule["table"], rule["chain"]
            about = [item for item in items
                     if (item.get("chain", {}).get("table"), item.get("chain", {}).get("name")) == (table, chain)
                     or any(item.get(kind, {}).get("table") == table for kind in ("set", "map"))
                     or item.get("table", {}).get("name") == table]  # fmt: skip
            text = json.dumps({"nftables": [*about, {"rule": rule}]}, separators=(",", ":"))
            found += [text] if len(text) < 2500 else []
    return tuple(dict.fromkeys(found))


NFT = _nft()
IPTABLES = tuple(golden(name) for name in ("docker.iptables", "many.iptables-nft", "fail2ban.iptables"))
UFW = tuple(golden(f"ufw-{name}.txt") for name in ("rules", "empty", "inactive"))
FIREWALLD = tuple(golden(f"firewalld-{name}.txt") for name in ("active", "dmz", "public", "trusted"))
FAIL2BAN = tuple(golden(f"fail2ban-{name}.txt") for name in ("status", "sshd", "portscan"))
KERNEL = (
    "262144\n", "1\n", "entries drop insert_failed\n00000001 00000007 00000002\n",
    "Udp: InDatagrams RcvbufErrors\nUdp: 1 2\n", "Udp6RcvbufErrors 3\n",
)  # fmt: skip
INTERFACES = (FIB_TRIE, IF_INET6)
XDP = (LINKS,)
_INSTALLED = FOLDER.with_name("installed")
YAML = tuple(one.read_text(encoding="utf-8") for one in sorted(_INSTALLED.glob("*.yaml")))
HAPROXY = ((_INSTALLED / "haproxy.cfg").read_text(encoding="utf-8"),)
