"""Make a throw-away certificate with the openssl program."""

from __future__ import annotations

from .commands import run_tool

_ARGUMENTS = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=pnmcheck -keyout - -out -"


def make_certificate() -> bytes | None:
    """Return a private key and its certificate in one PEM text; None where openssl is missing, fails or hangs."""
    made = run_tool("openssl", *_ARGUMENTS.split())
    return made.output.encode() if made.output else None
