"""Sound messages of every kind, to begin from."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from pathlib import Path

from agent.core import report_json
from agent.core.address import Family
from agent.core.counters import Counters, KernelStatus
from agent.core.plan import Transport, build_plan
from agent.core.ports import PortRange
from agent.protocol import framing, http_proof, messages, pairing, stun
from tests.core.test_report import REPORT
from tests.firewall.goldens import FOLDER, golden
from tests.packet.test_interceptor import http
from tests.packet.test_ip import extended, ipv4, ipv6, tcp, udp
from tests.packet.test_x509 import EMPTY, GOOD, NOBODY, certificate, extensions, item
from tests.system.test_interfaces import ADDRESSES, FIB_TRIE, IF_INET6

# A session's, as the desk of `targets.converse` draws them.
SESSION, KEY = "0" * 16, b"0" * 64
TRANSACTION = bytes(range(12))
PORT = 80

PROBE = stun.encode_request(stun.Request(SESSION, TRANSACTION, PORT), KEY)
LARGE_PROBE = stun.encode_request(stun.Request(SESSION, TRANSACTION, PORT, stun.PADDING), KEY)
ANSWERS = tuple(stun.encode_answer(TRANSACTION, ipaddress.ip_address(address), 4000, KEY)
                for address in ("192.0.2.1", "2001:db8::1"))  # fmt: skip

HELLO = messages.Hello(messages.PROTOCOL, "0.1.0", Family.IPV6)
ROWS = (
    messages.Rows(((PortRange(1, 5), 3), (PortRange(7, 7), "busy")), None),
    messages.Rows(tuple((PortRange(port, port), port % 2) for port in range(1, messages.MAX_ROWS + 1)), 2000),
)
MESSAGES: tuple[messages.Message, ...] = (
    HELLO,
    messages.Welcome(
        messages.PROTOCOL, "0.1.0", SESSION, SESSION * 4, build_plan("plugnmeet"), True, True, "192.0.2.1", True, 7600
    ),
    messages.Refusal("crowded", "too many", "wait"),
    *(messages.AskRows(about, Transport.UDP, 1) for about in messages.PortTable),
    ROWS[0],
    messages.AskKernel(("192.0.2.1",), ("0123456789ab",)),
    messages.KernelReply(KernelStatus(7600, Counters(3, None, 2)), ("2001:db8::1",)),
    messages.BindPartition(1),
    messages.PartitionBound(),
    messages.AskService(Transport.TCP, 443, "0123456789abcdef" * 4),
    messages.ServiceReply(True, 300, "0123456789abcdef" * 4, True),
    messages.ReportPart("{}", True),
    messages.Received(),
    messages.Bye(),
)
LINES = tuple(messages.encode(message)[:-1] for message in MESSAGES)
REPORT_TEXT = report_json.encode(REPORT)

TOKEN = http_proof.make_token(SESSION, PORT, "0" * 16, KEY)
HTTP = http_proof.encode_request("meet.example.com", TOKEN)
PROOF = http_proof.make_proof(TOKEN, b"", KEY)
HTTP_ANSWERS = (
    http_proof.encode_answer(PROOF),
    http_proof.encode_answer(http_proof.make_proof(TOKEN, b"another", KEY)),
    http_proof.encode_answer(None),
)
TLS_HELLO = b"\x16\x03\x01\0\x05\x01\0\0\x01\x03"


def _conversations() -> tuple[bytes, ...]:
    asks = [one for one in MESSAGES if isinstance(one, (messages.AskRows, messages.AskKernel))]
    whole = (HELLO, *asks, *messages.report_parts(REPORT_TEXT), messages.Bye())
    streams = (
        b"".join(map(messages.encode, whole)),
        messages.encode(HELLO)
        + b"".join(map(messages.encode, messages.report_parts('"' * (messages.MAX_REPORT_PART + 9)))),
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
    hello, challenge = replace(HELLO, nonce="1" * 32), messages.Challenge("0" * 32)
    keys = messages.session_keys(PAIRING_KEY, hello, challenge)
    seals = pairing.RecordAuthenticator(keys.client, keys.server)
    whole: tuple[messages.Message, ...] = (
        messages.Proof(""),
        messages.AskKernel(),
        *messages.report_parts(REPORT_TEXT),
        messages.Bye(),
    )
    sealed = b"".join(seals.sign(messages.encode(message)) for message in whole)
    streams = (messages.encode(hello) + sealed, messages.encode(hello) * 2, messages.encode(HELLO))
    return tuple(how + stream for how in (b"\0", b"\x40") for stream in streams)


PAIRED_CONVERSATIONS = _paired()
SEALED = pairing.RecordAuthenticator(KEY, KEY).sign(LINES[0] + b"\n")[:-1]

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
NFT_TEXT = tuple(golden(f"{name}.nft") for name in ("docker", "fail2ban", "firewalld", "many"))
IPTABLES = tuple(golden(name) for name in ("docker.iptables", "many.iptables-nft", "fail2ban.iptables"))
UFW = tuple(golden(f"ufw-{name}.txt") for name in ("rules", "empty", "inactive"))
FIREWALLD = tuple(golden(f"firewalld-{name}.txt") for name in ("active", "dmz", "public", "trusted"))
FAIL2BAN = tuple(golden(f"fail2ban-{name}.txt") for name in ("status", "sshd", "portscan"))
KERNEL = (
    "262144\n", "1\n", "entries drop insert_failed\n00000001 00000007 00000002\n",
    "Udp: InDatagrams RcvbufErrors\nUdp: 1 2\n", "Udp6RcvbufErrors 3\n",
)  # fmt: skip
INTERFACES = (FIB_TRIE, IF_INET6)
IP_ADDRESS = (ADDRESSES,)
_INSTALLED = Path(__file__).parents[1] / "config" / "installed"
YAML = tuple(one.read_text(encoding="utf-8") for one in sorted(_INSTALLED.glob("*.yaml")))
HAPROXY = ((_INSTALLED / "haproxy.cfg").read_text(encoding="utf-8"),)
