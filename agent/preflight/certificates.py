"""Check haproxy's certificates: their end, and the name of LiveKit's TURN."""

from __future__ import annotations

from typing import Iterator

from ..config.model import Installed
from ..core.events import Note
from .model import Certificate, CheckResult, Machine

# Let's Encrypt's certificates are renewed 30 days before their end: half of that went by in vain.
SOON_DAYS = 14
_DAY = 24 * 3600


def check_certificates(machine: Machine, installed: Installed | None) -> CheckResult:
    """Check the certificates that haproxy's configuration names."""
    if installed is None or not installed.certificates:
        return None
    notes = tuple(note for certificate in machine.certificates for note in _expiry(certificate, machine.now))
    paths = tuple(path for _, path in installed.certificates)
    unread = [f"{path}: {why}" for path, why in machine.errors.items() if path.startswith(paths)]
    if unread:
        return notes or unread[0]
    wanted = installed.turn_domain
    names = {name for certificate in machine.certificates for name in certificate.names}
    if wanted and not any(matches(name, wanted) for name in names):
        notes += (Note(
            "certificate-name",
            f"None of haproxy's certificates is for {wanted}.",
            "Clients refuse TURN over TLS, and users whose network lets nothing else pass have no calls.",
            "Get a certificate that has this name too.",
        ),)  # fmt: skip
    return notes


def _expiry(certificate: Certificate, now: float) -> Iterator[Note]:
    days = int((certificate.until - now) // _DAY)
    if days >= SOON_DAYS:
        return
    when = "has expired" if certificate.until <= now else f"expires in {days} day{'' if days == 1 else 's'}"
    yield Note(
        "certificate-expiry",
        f"The certificate in {certificate.path} {when}.",
        "Browsers refuse the web application, and clients refuse TURN over TLS.",
        "Renew it; Let's Encrypt has to reach port 80 for that.",
        ("certbot renew",),
    )


def matches(name: str, wanted: str) -> bool:
    """Return whether a certificate's name, whose first label may be a star, is that of a server (RFC 6125, 6.4)."""
    name, wanted = name.lower(), wanted.lower().rstrip(".")
    return name == wanted or (name.startswith("*.") and name[2:] == wanted.partition(".")[2])
