"""What a machine tells of itself: texts as Linux and its tools write them, and real files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Sequence

import pytest

from agent.core.ports import PortRange
from agent.preflight import collect
from agent.system import counters
from agent.system.commands import CommandResult
from tests.lab import need


def test_how_many_flows_there_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("_MAXIMUM", "7680\n"), ("_COUNT", "12\n")):
        (tmp_path / name).write_text(text, encoding="ascii")
        monkeypatch.setattr(counters, name, str(tmp_path / name))
    assert counters.conntrack_max() == 7680
    (tmp_path / "_COUNT").write_text("0\n", encoding="ascii")  # nothing is tracked
    assert counters.conntrack_max() is None
    (tmp_path / "_MAXIMUM").unlink()
    assert counters.conntrack_max() is None


def make_certificate(folder: Path, name: str, days: int, *names: str) -> str:
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
    key = make_certificate(folder, "meet.pem", 90, "meet.example", "turn.example")
    make_certificate(folder, "old.pem", 1, "old.example")
    (folder / "meet.pem.key").write_text("no certificate", encoding="ascii")
    machine = collect.read_machine([str(folder)])
    assert [
        (entry.path, entry.names, round((entry.until - machine.now) / 86400)) for entry in machine.certificates
    ] == [
        (f"{folder}/meet.pem", ("meet.example", "turn.example"), 90),
        (f"{folder}/old.pem", ("old.example",), 1),
    ]
    shown = [ssl.PEM_cert_to_DER_cert(certificate_of(Path(one.path))) for one in machine.certificates]
    assert [one.fingerprint for one in machine.certificates] == [hashlib.sha256(one).hexdigest() for one in shown]
    assert not any(path.startswith(str(folder)) for path in machine.errors)
    assert key.splitlines()[1] not in repr(machine)


def test_keys_take_no_certificates_place_and_too_many_files_are_told(folder: Path) -> None:
    make_certificate(folder, "0.pem", 90, "meet.example")
    content = (folder / "0.pem").read_text(encoding="ascii")
    for number in range(1, 50):
        (folder / f"{number}.pem").write_text(content, encoding="ascii")
    for number in range(50):
        (folder / f"{number}.pem.key").write_text("no certificate", encoding="ascii")
    machine = collect.read_machine([str(folder)])
    assert (len(machine.certificates), machine.errors.get(str(folder))) == (50, None)
    (folder / "50.pem").write_text(content, encoding="ascii")
    machine = collect.read_machine([str(folder)])
    assert len(machine.certificates) == 50
    assert machine.errors[str(folder)] == "only the first 50 of its 51 files were read"


def test_a_certificate_that_a_link_leads_to(folder: Path) -> None:
    make_certificate(folder, "meet.pem", 90, "meet.example")
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
    assert {path: why for path, why in machine.errors.items() if path.startswith("/")} == {
        str(folder / name): "it holds no certificate that can be read"
        for name in ("pipe", "empty", "text", "base64", "der", "gone")
    }


def test_a_directory_that_cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert collect.read_machine([str(folder)]).errors[str(folder)] == "Permission denied"


@pytest.mark.parametrize(
    ("printed", "clock"),
    [
        (CommandResult("NTPSynchronized=yes\n"), True),
        (CommandResult("NTPSynchronized=no\n"), False),
        (CommandResult("something else"), None),
        (CommandResult(None, "there is no timedatectl here"), None),
    ],
)
def test_the_clock_by_what_timedatectl_prints(
    printed: CommandResult, clock: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(collect, "read_interfaces", lambda: (None, "no ip"))

    def run_tool(*command: str) -> CommandResult:
        asked.append(command)
        return printed

    monkeypatch.setattr(collect, "run_tool", run_tool)
    machine = collect.read_machine([])
    assert (machine.clock_synchronized, machine.errors["clock"], machine.interfaces) == (clock, printed.error, None)
    assert (asked, machine.errors["interfaces"]) == ([("timedatectl", "show", "-p", "NTPSynchronized")], "no ip")


def test_this_very_machine() -> None:
    machine = collect.read_machine([])
    with contextlib.suppress(FileNotFoundError):
        received = Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii")
        assert machine.max_receive_buffer == int(received)
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    assert machine.ephemeral_ports == PortRange(int(first), int(last))
    assert machine.reserved_ports is not None
    if shutil.which("ip"):
        assert machine.interfaces is not None
