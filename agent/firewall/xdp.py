"""XDP programs, which a network driver runs before anything else sees a packet, as `ip` lists them (ip-link(8))."""

from __future__ import annotations

import json
from typing import Iterator

from ..system.commands import ask

MAX_NAME = 15  # IFNAMSIZ without its end


def parse_links(text: str) -> Iterator[str]:
    """The interfaces that have an XDP program, by `ip -j link show`; ValueError where it is no such list."""
    try:
        links = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(links, list):
        raise ValueError("no list of interfaces")
    for link in links:
        if isinstance(link, dict) and link.get("xdp"):
            yield str(link.get("ifname"))


def read_xdp() -> tuple[str, ...]:
    """Sentences on what may drop packets before this program's watch of the interfaces sees them."""
    told = ask("ip", "-j", "link", "show")
    try:
        names = tuple(parse_links(told.text)) if told.text else ()
    except ValueError:  # an `ip` without JSON: nothing is known of XDP, as of other hidden things
        names = ()
    return tuple(f"An XDP program at {name[:MAX_NAME]} sees packets first: what it drops looks as if it had never come."
                 for name in names)  # fmt: skip
