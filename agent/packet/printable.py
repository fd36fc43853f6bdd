"""Make what others sent safe to print, and short enough for a line."""

from __future__ import annotations

from ..core.errors import DecodeError
from ..protocol import stun

MAX_CHARACTERS = 60


def first_line(data: bytes, most: int = MAX_CHARACTERS) -> str:
    """Return the first line of some bytes, in printable ASCII; empty where nothing in it can be read."""
    line = data.lstrip().split(b"\n")[0][:most].decode("ascii", "replace").strip()
    return "".join(char if char.isprintable() and char.isascii() else "?" for char in line)


def describe_reply(data: bytes, probe: bytes) -> str:
    """Describe what came from a UDP port and is no answer of our server's; `probe` is the one that it names, if any."""
    if probe and data == probe:
        return "an echo of the probe"
    try:
        stun.decode(data)
    except DecodeError:
        text = first_line(data)
        return f"{len(data):,} bytes that are no text" if text[:1] in ("", "?") else text
    return "a STUN answer that is not this server's"
