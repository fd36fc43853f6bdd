"""What a machine tells of itself: texts as Linux and its tools write them, and real files."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.notes import Interface
from agent.core.ports import PortRange
from agent.preflight import collect
from agent.system import counters
from agent.system.commands import CommandResult
from tests.core.values import ANY
from tests.lab import need

# iproute2 6.1: one object for each interface, and an empty one for each that `up` leaves out.
ADDRESSES = """[{},{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[
{"family":"inet","local":"127.0.0.1","prefixlen":8},{"family":"inet6","local":"::1","prefixlen":128}]},
{"ifname":"eth0","addr_info":[{"family":"inet","local":"198.51.100.1"},{"family":"inet6","local":"2001:db8:1::1"},
{"family":"inet6","local":"fe80::1"}]},
{"ifname":"docker0","flags":["NO-CARRIER","UP"],"addr_info":[{"family":"inet","local":"172.17.0.1"}]},
{"ifname":"tun0","addr_info":[{}]},{"ifname":"eth1","addr_info":[{"family":"inet6","local":"fe80::2"}]}]"""


def test_the_interfaces() -> None:
    assert collect.parse_interfaces(ADDRESSES) == (
        Interface("eth0", (ipaddress.ip_address("198.51.100.1"), ipaddress.ip_address("2001:db8:1::1"))),
        Interface("docker0", (ipaddress.ip_address("172.17.0.1"),)),
    )


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}x", "3", "[3]", '["eth0"]', '[{"ifname":"eth0"}]', '[{"addr_info":[]}]', "[" * 100_000,
     '[{"ifname":"eth0","addr_info":[{"local":"nowhere"}]}]', '[{"ifname":"eth0","addr_info":{"local":1}}]'],
)  # fmt: skip
def test_what_is_no_list_of_interfaces(text: str) -> None:
    assert collect.parse_interfaces(text) is None


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("32768\t60999", PortRange(32768, 60999)),
        ("0 60999", PortRange(1, 60999)),
        ("60999 32768", None),
        ("1 70000", None),
        ("", None),
        ("many ports", None),
        ("1 2 3", None),
    ],
)
def test_the_ports_that_are_lent(text: str, run: PortRange | None) -> None:
    assert collect.parse_run(text) == run


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", set()), ("7881,50000-50002", {7881, 50000, 50001, 50002}), ("0", None), ("nonsense", None)],
)
def test_the_ports_that_are_reserved(text: str, ports: set[int] | None) -> None:
    assert collect.parse_reserved(text) == ports


@ANY
@given(st.text())
def test_any_text(text: str) -> None:
    for read in (collect.parse_interfaces, collect.parse_run, collect.parse_reserved):
        read(text)


def test_how_many_flows_there_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("_MAXIMUM", "7680\n"), ("_COUNT", "12\n")):
        (tmp_path / name).write_text(text, encoding="ascii")
        monkeypatch.setattr(counters, name, str(tmp_path / name))
    assert counters.most_flows() == 7680
    (tmp_path / "_COUNT").write_text("0\n", encoding="ascii")  # nothing is tracked
    assert counters.most_flows() is None
    (tmp_path / "_MAXIMUM").unlink()
    assert counters.most_flows() is None


def made(folder: Path, name: str, days: int, *names: str) -> str:
    """A key and its certificate in one file, as haproxy has them; the text of the key."""
    need("openssl")
    key, certificate = folder.parent / "key", folder.parent / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         str(days), "-subj", "/CN=x", "-addext", f"subjectAltName={','.join(f'DNS:{one}' for one in names)}",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / name).write_text(key.read_text("ascii") + certificate.read_text("ascii"), encoding="ascii")
    return key.read_text("ascii")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ssl"
    folder.mkdir()
    return folder


def certificate_of(path: Path) -> str:
    text = path.read_text(encoding="ascii")
    return text[text.index("-----BEGIN CERTIFICATE") :]


def test_the_certificates_of_a_directory(folder: Path) -> None:
    key = made(folder, "meet.pem", 90, "meet.example", "turn.example")
    made(folder, "old.pem", 1, "old.example")
    (folder / "meet.pem.key").write_text("no certificate", encoding="ascii")
    machine = collect.read_machine([str(folder)])
    assert [(one.path, one.names, round((one.until - machine.now) / 86400)) for one in machine.certificates] == [
        (f"{folder}/meet.pem", ("meet.example", "turn.example"), 90),
        (f"{folder}/old.pem", ("old.example",), 1),
    ]
    shown = [ssl.PEM_cert_to_DER_cert(certificate_of(Path(one.path))) for one in machine.certificates]
    assert [one.fingerprint for one in machine.certificates] == [hashlib.sha256(one).hexdigest() for one in shown]
    assert not any(path.startswith(str(folder)) for path in machine.why)
    assert key.splitlines()[1] not in repr(machine)


def test_a_certificate_that_a_link_leads_to(folder: Path) -> None:
    made(folder, "meet.pem", 90, "meet.example")
    (folder.parent / "link").symlink_to(folder / "meet.pem")
    (one,) = collect.read_machine([str(folder.parent / "link")]).certificates
    assert one.names == ("meet.example",)


def test_what_is_no_certificate(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for name, text in {
        "empty": "", "text": "-----BEGIN CERTIFICATE-----", "base64": "a", "der": "AAAA"
    }.items():  # fmt: skip
        begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----"
        (folder / name).write_text(text if len(text) > 4 else begin + text + end, encoding="ascii")
    machine = collect.read_machine([str(folder), str(folder / "gone")])
    assert machine.certificates == ()
    assert {path: why for path, why in machine.why.items() if path.startswith("/")} == {
        str(folder / name): "no certificate that can be read"
        for name in ("pipe", "empty", "text", "base64", "der", "gone")
    }


def test_a_directory_that_cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert collect.read_machine([str(folder)]).why[str(folder)] == "Permission denied"


@pytest.mark.parametrize(
    ("told", "clock"),
    [
        (CommandResult("NTPSynchronized=yes\n"), True),
        (CommandResult("NTPSynchronized=no\n"), False),
        (CommandResult("something else"), None),
        (CommandResult(None, "there is no timedatectl here"), None),
    ],
)
def test_the_clock_by_what_timedatectl_prints(
    told: CommandResult, clock: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    def ask(*command: str) -> CommandResult:
        asked.append(command)
        return told if command[0] == "timedatectl" else CommandResult(None, "no ip")

    monkeypatch.setattr(collect, "ask", ask)
    machine = collect.read_machine([])
    assert (machine.clock, machine.why["clock"], machine.interfaces) == (clock, told.trouble, None)
    assert ("timedatectl", "show", "-p", "NTPSynchronized") in asked


def test_this_very_machine() -> None:
    machine = collect.read_machine([])
    with contextlib.suppress(FileNotFoundError):
        received = Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii")
        assert machine.most_received == int(received)
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    assert machine.lent == PortRange(int(first), int(last))
    assert machine.reserved is not None
    if shutil.which("ip"):
        assert machine.interfaces is not None


def test_a_machine_without_such_files(tmp_path: Path) -> None:
    machine = collect.read_machine([], f"{tmp_path}/")
    assert (machine.lent, machine.most_received, machine.reserved) == (None, None, frozenset())
