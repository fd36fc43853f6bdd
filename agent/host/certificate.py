"""A throw-away certificate, made by the openssl program where there is one."""

from __future__ import annotations

import subprocess

# A P-256 key takes milliseconds; a machine that is short of entropy or busy may take longer, and nobody waits more.
OPENSSL_SECONDS = 5.0

_COMMAND = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=pnmcheck -keyout - -out -"
)


def make_certificate() -> bytes | None:
    """A private key and its certificate, both PEM, in one text; None where openssl is missing, fails or hangs."""
    try:
        made = subprocess.run(
            _COMMAND.split(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=OPENSSL_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return made.stdout
