"""Sessions that a program of a few lines holds, which speaks the control channel itself; and what their probes are."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Sequence

from agent.protocol import stun
from tests.lab import PROGRAMS, Host

HELLO = '{"type":"hello","protocol":3,"program":"0.1.0","family":"ipv4","nonce":null}\n'

_HOLDER = PROGRAMS / "open_sessions.py"


class Held:
    """Sessions that are held; what the server told each of them first."""

    def __init__(self, process: subprocess.Popen[str], number: int) -> None:
        assert process.stdin
        assert process.stdout
        self._orders = process.stdin
        self.told: list[dict[str, Any]] = [json.loads(process.stdout.readline()) for _ in range(number)]

    def end(self, number: int) -> None:
        """Close the control channel of one."""
        print(number, file=self._orders, flush=True)

    def probe(self, number: int, port: int, of: int | None = None) -> bytes:
        """A probe of one of them, as its client would send it; the one `of` that number, else of the port's."""
        session, secret = self.told[number]["session"], self.told[number]["secret"]
        request = stun.Request(session, stun.make_transaction(of or port, b"8 random"), port)
        return stun.encode_request(request, secret.encode())


@contextlib.contextmanager
def held(host: Host, target: str, sources: Sequence[str]) -> Iterator[Held]:
    """Begin a session from each of the host's addresses, in their order, and hold them."""
    argv: list[str | Path] = [sys.executable, _HOLDER, target, HELLO, *sources]
    with host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Held(process, len(sources))
        finally:
            process.kill()
