"""XDP programs, which a network driver runs before anything else sees a packet, as `ip` lists them (ip-link(8))."""

from __future__ import annotations

from ..system.interfaces import read_interfaces

MAX_NAME = 15  # IFNAMSIZ without its end


def read_xdp() -> tuple[str, ...]:
    """Return sentences on what may drop packets before this program's capture of the interfaces gets them."""
    interfaces, _ = read_interfaces()  # without an answer XDP is as unknown as other hidden things
    return tuple(f"An XDP program at {link.name[:MAX_NAME]} sees packets first: what it drops looks as if it had never "
                 "come." for link in interfaces or () if link.xdp)  # fmt: skip
