"""Check that users outside can reach the interfaces whose addresses LiveKit offers to them."""

from __future__ import annotations

import re
from typing import Sequence

from ..config.model import Installed
from ..core.address import Address, is_internal
from ..core.events import Note
from ..system.interfaces import Interface
from .model import CheckResult, Machine

_VIRTUAL = re.compile(r"docker|br-|veth|virbr|lxc|lxd|cni|flannel|podman|tun|tap|wg|tailscale|zt")


def check_interfaces(machine: Machine, installed: Installed | None) -> CheckResult:
    """Check that LiveKit offers no address of an interface that only this machine or a private network uses."""
    if installed is None:
        return None
    if machine.interfaces is None:
        return machine.errors.get("interfaces", "")
    if installed.addresses_filtered:
        return "LiveKit's configuration chooses addresses itself"
    includes, excludes = installed.interfaces  # LiveKit reads the first alone where both are set
    used = [link for link in machine.interfaces
            if link.addresses and (link.name in includes if includes else link.name not in excludes)]  # fmt: skip
    own = machine.outgoing_addresses
    public = installed.use_external_ip or not all(map(is_internal, own))
    extra = [link for link in used if _is_extra(link, own, public)]
    if not extra or not own:
        return ()
    named = ", ".join(f"{link.name} ({' and '.join(map(str, link.addresses))})" for link in extra)
    kept = ", ".join(link.name for link in used if link not in extra)
    return (Note(
        "extra-interfaces",
        f"LiveKit also offers the addresses of {named} to its clients.",
        "Nobody outside can reach those: calls start later, and use more of the ports.",
        f"Unless users are on those networks, set `rtc: interfaces: includes: [{kept}]` in LiveKit's configuration.",
    ),)  # fmt: skip


def _is_extra(link: Interface, own: Sequence[Address], public: bool) -> bool:
    if any(address in own or not is_internal(address) for address in link.addresses):
        return False
    return public or bool(_VIRTUAL.match(link.name))
