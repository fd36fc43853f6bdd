"""Command lines that mean nothing: status 2, and the piece that is wrong is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """The file is run under its own name here."""
    return pyz


SERVER_LINES = (
    ("--tcp 80,,443", "empty"),
    ("--tcp 80,abc", "'abc'"),
    ("--tcp 0", "'0'"),
    ("--tcp 65536", "'65536'"),
    ("--tcp 80,80", "'80'"),
    ("--tcp -5", "-5"),
    ("--tcp 80;443", "'80;443'"),
    ("--tcp 443,٤٤٣", "٤٤٣"),
    ("--udp 60000-50000", "'60000-50000'"),
    ("--udp 50000-", "'50000-'"),
    ("--udp 1-2-3", "'1-2-3'"),
    ("--udp 50000-50010,50010", "50010"),
    ("--udp 50000-70000", "'50000-70000'"),
    ("--udp " + "9" * 5000, "outside"),
    ("--tcp none --udp none", "nothing to check"),
    ("--udp 10000-20000 --with sip", "10000-20000"),
    ("--with turn", "turn"),
    ("--plan other", "other"),
    ("--plan livekit", "livekit:FILE"),
    ("--plan livekit:", "livekit:FILE"),
    ("--plan installed:x", "installed:x"),
    ("--bind meet.example.com", "meet.example.com"),
    ("--control 0", "0"),
    ("--control https", "https"),
    ("--for x", "--for x"),
    ("--for 0s", "--for 0s"),
    ("--for 25h", "--for 25h"),
    ("--for -1", "-1"),
    ("--for 1.5h", "--for 1.5h"),
    ("--key x", "it has 1 characters"),
    ("--key 7k2m-q0xz-7k2m-q0xz-7k2m-q0xz-7k2m", "--key is no pairing key"),
    ("--stop-services", "--stop-services"),
    ("extra", "extra"),
)

CLIENT_LINES = (
    ("", "HOST"),
    ("https://meet.example.com", "https://meet.example.com"),
    ("https://meet.example.com/", "https://meet.example.com/"),
    ("meet.example.com:443", "meet.example.com:443"),
    ("user@meet.example.com", "user@meet.example.com"),
    ("a" * 64 + ".example", "a" * 64),
    ("127.0.0.1 meet.example.com:443", "meet.example.com:443"),
    ("127.0.0.1 --json meet.example.com:443", "meet.example.com:443"),
    ("127.0.0.1 --json meet.example.com --udp", "--udp"),
    (" ".join(f"127.0.0.{number}" for number in range(1, 10)), "one check takes 8 at most"),
    ("127.0.0.1 -4 -6", "-6"),
    ("127.0.0.1 --control 70000", "70000"),
    ("127.0.0.1 --html report.html", "--html"),
    ("127.0.0.1 --watch", "--watch"),
    ("127.0.0.1 --key x", "--key"),
    ("127.0.0.1 --udp 50000", "--udp"),
    ("127.0.0.1 --rate", "--rate"),
    ("127.0.0.1 --rate 0", "--rate 0"),
    ("127.0.0.1 --rate x", "--rate x"),
    ("127.0.0.1 --rate -5", "--rate"),
    ("127.0.0.1 --rate=-5", "--rate -5"),
    ("127.0.0.1 --rate 1.5", "--rate 1.5"),
    ("127.0.0.1 --rate 1000001", "from 1 to 1,000,000"),
    ("127.0.0.1 --rate ٢٠٠", "--rate ٢٠٠"),
    ("127.0.0.1 --sample", "--sample"),
    ("127.0.0.1 --sample 0", "--sample 0"),
    ("127.0.0.1 --sample x", "--sample x"),
    ("127.0.0.1 --sample -4", "--sample"),
    ("127.0.0.1 --sample 3%", "--sample 3%"),
    ("127.0.0.1 --sample 1000001", "from 1 to 1,000,000"),
    ("127.0.0.1 --rate " + "9" * 5000, "from 1 to 1,000,000"),
)

OTHER_LINES = (("", "COMMAND"), ("serve", "serve"), ("--json", "COMMAND"), ("selftest 127.0.0.1", "127.0.0.1"))

LINES = (
    *((f"server {line}", named) for line, named in SERVER_LINES),
    *((f"client {line}", named) for line, named in CLIENT_LINES),
    *OTHER_LINES,
)


@pytest.mark.parametrize(("line", "named"), [pytest.param(*one, id=one[0][:40] or "nothing") for one in LINES])
def test_usage(archive: Path, line: str, named: str) -> None:
    done = subprocess.run(
        [sys.executable, archive, *line.split()], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "what to do:" in done.stderr


def test_a_host_may_not_be_empty(archive: Path) -> None:
    done = subprocess.run([sys.executable, archive, "client", ""], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
