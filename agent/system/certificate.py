"""A throw-away certificate, made by the openssl program where there is one."""

from __future__ import annotations

from .commands import ask

_ARGUMENTS = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=pnmcheck -keyout - -out -"


def make_certificate() -> bytes | None:
    """A private key and its certificate, both PEM, in one text; None where openssl is missing, fails or hangs."""
    told = ask("openssl", *_ARGUMENTS.split())
    return told.text.encode() if told.text else None
