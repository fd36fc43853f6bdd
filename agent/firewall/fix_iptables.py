"""Open ports in iptables: a rule that accepts them, before the one that blocks them (iptables-extensions(8))."""

from __future__ import annotations

from typing import Container, Iterator, Sequence

from ..core.address import Family
from .fix import SAFE_NAME, UNSAFE, BlockingRules, Fix, Insertion, insertions, multiport, position, redirected
from .fix_ufw import is_ufw_internal
from .model import FirewallManagers, Tool

_NOT_SAVED = ("This is lost at the next reboot: on Debian and Ubuntu `apt install iptables-persistent` keeps it; on "
              "others add it to the file that the rules are loaded from.")  # fmt: skip
_NOT_SAVED_BY = "This is lost at the next reboot: `{}-save` and `{}-save` print the rules to load then."
_UFW_RELOAD = "`ufw reload` removes this rule: add it to /etc/ufw/before.rules and /etc/ufw/before6.rules too."


def fix_iptables(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return the rules to insert, in each chain before its first blocking rule, and what saves them."""
    fix = redirected(rules)
    changed: set[tuple[Tool, Family]] = set()
    # From the last rule of a chain on: so the numbers of those before it stay.
    for insertion in sorted(insertions(rules), key=lambda insertion: -position(insertion.location)):
        location = insertion.location
        if not (SAFE_NAME.fullmatch(location.chain) and SAFE_NAME.fullmatch(location.table)):
            fix += UNSAFE
            continue
        commands = tuple(_accept(insertion))
        fix += Fix(commands)
        if is_ufw_internal(location.chain):
            fix += Fix((), (_UFW_RELOAD,))
        elif commands:
            changed.add((location.tool, insertion.family))
    return fix + _save(changed, managers.save_commands)


def _accept(insertion: Insertion) -> Iterator[str]:
    location, family, answers, ports = insertion
    command = _command(location.tool, family) + ("" if location.table == "filter" else f" -t {location.table}")
    place = f"-A {location.chain}" if location.number is None else f"-I {location.chain} {location.number}"
    side = "sport" if answers else "dport"
    for transport, runs in ports.items():
        for listed, count in multiport(runs):
            match = f"multiport --{side}s" if count > 1 else f"{transport.value} --{side}"
            yield f"{command} {place} -p {transport.value} -m {match} {listed} -j ACCEPT"


def _save(changed: Container[tuple[Tool, Family]], save_commands: Sequence[str]) -> Fix:
    """Return what keeps changes over a reboot: what saves the default variant's rules has none of the other's."""
    families = [family for family in Family if (Tool.IPTABLES, family) in changed]
    commands = dict.fromkeys(command for family, command in zip(Family, save_commands) if family in families)
    sentences = [_NOT_SAVED_BY.format(*(_command(tool, family) for family in Family))
                 for tool in (Tool.IPTABLES_NFT, Tool.IPTABLES_LEGACY)
                 if any((tool, family) in changed for family in Family)]  # fmt: skip
    if families and not commands:
        sentences.append(_NOT_SAVED)
    return Fix((" && ".join(commands),) if commands else (), tuple(sentences))


def _command(tool: Tool, family: Family) -> str:
    return tool.value if family is Family.IPV4 else tool.value.replace("ip", "ip6", 1)
