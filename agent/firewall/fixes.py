"""The commands that open ports in this host's own firewall, in the order to run them.

They are printed for people who run them as root, as they stand, in a shell. So a name goes into one only where it is
made of characters that mean nothing to a shell, and none replaces or removes a rule set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Container, Dict, Iterable, Iterator, List, Sequence

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange, port_ranges
from .model import BlockingRule, FirewallManagers, Hook, RuleAction, RuleLocation, Tool

SLOTS = 15  # ports in one rule of iptables' multiport, of which a range takes two (iptables-extensions(8))
MAX_SET = 100  # runs in one rule of nft: a command stays far below 2,000 characters

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,63}")
_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NETWORK = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:/[0-9]{1,3})?")
_ZONE = re.compile(r"(?:filter_)?IN_(.+)")
# By the part of a zone that denies, the priority that comes before it, as no port of the zone action: before what has
# none, and before what has a negative one, of which this is the least (firewalld.richlanguage(5)).
_PRIORITIES = {"deny": -100, "pre": -32768}
_RICH = """--add-rich-rule='rule priority="{}" port port="{}" protocol="{}" accept'"""
_BAN_SET = re.compile(r"(?:--match-set |@)f2b-(\S+)")
_UFW_OWN = re.compile(r"ufw6?-(?:before-(?:input|output)|not-local)")

_UNSAFE = "No command can be made of this rule that is safe to print: change it by hand."
_DOCKER = ("Docker publishes the port for a container, and its rules come before ufw's and this host's own: "
           "`docker ps` shows which container; stop it, or publish another port.")  # fmt: skip
_ELSEWHERE = "A rule sends these ports on elsewhere; what is there gets them no more once they are let in here."
_NO_SAVES = ("This lasts until a reboot: on Debian and Ubuntu `apt install iptables-persistent` keeps it, on others "
             "the file that the rules are loaded from.")  # fmt: skip
_BESIDE = "This lasts until a reboot: `{}-save` and `{}-save` print what has to be loaded."
_NFT = "This lasts until a reboot: put the same rule into the file that the rules are loaded from, /etc/nftables.conf."
_BEFORE = "A reload of ufw undoes this: put the same rule into /etc/ufw/before.rules and before6.rules too."
_NO_IPV6 = "ufw lets no IPv6 in at all, since /etc/default/ufw says so (IPV6=no)."
_POLICY = ("firewalld stops or redirects this by more than a zone's ports: `firewall-cmd --list-all-zones` and "
           "`firewall-cmd --list-all-policies` show it.")  # fmt: skip
_BANNED = "fail2ban's rules stop this: `fail2ban-client status` shows its jails."


@dataclass(frozen=True)
class Fix:
    """Commands in the order to run them, and sentences that belong to them."""

    commands: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    def __add__(self, other: Fix) -> Fix:
        sentences = dict.fromkeys((*self.sentences, *other.sentences))
        return Fix((*self.commands, *other.commands), tuple(sentences))


BlockingRules = Sequence[BlockingRule]
Ports = Dict[Transport, List[PortRange]]


def fix_for(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """What opens the ports that these rules block, by whoever manages them; each port is named once a family."""
    by_maker: dict[_Maker, list[BlockingRule]] = {maker: [] for maker in _MAKERS}
    for one in rules:
        by_maker[_maker(one, managers)].append(one)
    found = Fix()
    for maker, its in by_maker.items():
        if its:
            found += maker(its, managers)
    return found


def is_fail2ban_rule(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Whether a rule is fail2ban's: in a chain or by a set of its own, or against just what it says that it bans.

    In ufw's and firewalld's chains, by which it can ban, its rules have no other mark.
    """
    if rule.location.table == "inet f2b-table" or any(_jails(rule)):
        return True
    banned = (f"{ban.address}{length}" for ban in managers.bans for length in ("", "/32", "/128"))
    return not frozenset(rule.text.split()).isdisjoint(banned)


def _jails(rule: BlockingRule) -> Iterator[str]:
    """The names behind `f2b-` in those of a rule's chains and sets, which are mostly those of jails."""
    yield from (chain[len("f2b-") :] for chain in rule.location.path if chain.startswith("f2b-"))
    yield from _BAN_SET.findall(rule.text)


def is_docker_rule(rule: BlockingRule) -> bool:
    """Whether a rule hands the port to a container of Docker's."""
    return rule.action is RuleAction.REDIRECT and "DOCKER" in rule.location.path


def is_ufw(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Whether ufw decides, in a chain of its own or by the policy that it sets."""
    location = rule.location
    if managers.ufw is None or is_fail2ban_rule(rule, managers):
        return False
    if any(one.startswith(("ufw-", "ufw6-")) for one in location.path):
        return True
    # ufw's iptables are of one variant; what the other, legacy, has left behind is none of its.
    own = location.tool in (Tool.IPTABLES, Tool.NFT)
    filters = own and location.table in ("filter", "ip filter", "ip6 filter")
    return filters and location.number is None and location.chain in ("INPUT", "OUTPUT")


def is_ufw_rule(rule: BlockingRule) -> bool:
    """Whether one of the rules decides that `ufw status numbered` lists."""
    return any("-user-" in chain for chain in rule.location.path)


def blocks_answers(rule: BlockingRule) -> bool:
    """Whether a rule stops the server's answers, and not what comes in."""
    return rule.hook in (Hook.OUTPUT, Hook.POSTROUTING)


def _is_firewalld(rule: BlockingRule) -> bool:
    location = rule.location
    return location.table == "inet firewalld" or "INPUT_ZONES" in location.path


def _maker(rule: BlockingRule, managers: FirewallManagers) -> _Maker:
    if is_fail2ban_rule(rule, managers):
        return _unban
    if is_docker_rule(rule):
        return _docker
    if is_ufw(rule, managers) and (is_ufw_rule(rule) or not _UFW_OWN.fullmatch(rule.location.chain)):
        return _ufw
    if _is_firewalld(rule):
        return _firewalld
    return _nft if rule.location.tool is Tool.NFT else _iptables


def manager_of(rule: BlockingRule, managers: FirewallManagers) -> str | None:
    """The program that wrote a rule, where it can be told."""
    if is_ufw(rule, managers):
        return "ufw"
    makers: dict[_Maker, str] = {_unban: "fail2ban", _docker: "Docker", _firewalld: "firewalld"}
    return makers.get(_maker(rule, managers))


def _unban(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    return unban(managers, {jail for one in rules for jail in _jails(one)})


def unban(managers: FirewallManagers, jails: Iterable[str] = ()) -> Fix:
    """What lifts the client's bans, those of some jails where they can be told by their names, else all of them."""
    named = [one for one in managers.bans if one.jail in set(jails)] or managers.bans
    safe = [one for one in named if _NAME.fullmatch(one.jail) and _NETWORK.fullmatch(one.address)]
    commands = (f"fail2ban-client set {one.jail} unbanip {one.address}" for one in safe)
    return Fix(tuple(dict.fromkeys(commands)), () if safe else (_BANNED,))


def _docker(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    return Fix((), (_DOCKER,))


def _ufw(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    assert managers.ufw
    commands: list[str] = []
    closed = not managers.ufw.ipv6 and any(one.family is Family.IPV6 for one in rules)
    if closed:
        commands += ["sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw", "ufw reload"]
    for out in (False, True):
        its = [one for one in rules if blocks_answers(one) is out]
        for transport, ports in _ports(its).items():
            first = any(is_ufw_rule(one) for one in its if one.transport is transport)
            for chunk in _slots(ports):
                commands += _allow(_listed(chunk), transport, out, first, managers.ufw.rules)
    return Fix(tuple(commands), (_NO_IPV6,) if closed else ())


def _allow(ports: str, transport: Transport, out: bool, first: bool, rules: Sequence[str]) -> Iterator[str]:
    """`prepend`, not `insert 1`: that fails where there is no rule, and puts the rule for IPv6 last where the two
    families' rules differ. ufw takes no rule that it has already, and leaves that where it is, so it goes first."""
    what = f"proto {transport.value} from any port {ports} to any" if out else f"{ports}/{transport.value}"
    port, acts, v6 = f"{ports}/{transport.value}", "(ALLOW|DENY|REJECT|LIMIT)", r"(?: \(v6\))?"
    inward = rf"{port}{v6} +{acts} IN +Anywhere{v6}(?: +\((log|log-all)\))?"
    outward = rf"Anywhere{v6} +{acts} OUT +{port}{v6} +\((?:(log|log-all), )?out\)"
    own = re.compile((outward if out else inward) + "(?: +#.*)?")
    way = "out " if out else ""
    if first:
        # Those of the two families, which ufw lists one by one, are deleted together.
        for act, log in dict.fromkeys(match.groups() for match in map(own.fullmatch, rules) if match):
            yield f"ufw delete {act.lower()} {way}{f'{log} ' if log else ''}{what}"
    yield f"ufw {'prepend ' if first else ''}allow {way}{what}"


def _firewalld(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Both what runs and what is kept: a reload would lose whatever else runs and is not kept."""
    found = Fix()
    by_zone: dict[tuple[str, int | None], list[BlockingRule]] = {}
    for one in rules:
        zone, part = _zone(one, managers)
        if one.hook is not Hook.INPUT or zone is None:
            found += Fix((), (_POLICY,))
        elif not _NAME.fullmatch(zone):
            found += Fix((), (_UNSAFE,))
        else:
            by_zone.setdefault((zone, _PRIORITIES.get(part)), []).append(one)
    for (zone, priority), its in by_zone.items():
        ports = [(run, transport.value) for transport, all_runs in _ports(its).items() for run in all_runs]
        if priority:
            portions = [_RICH.format(priority, *port) for port in ports]
        else:
            options = [f"--add-port={run}/{transport}" for run, transport in ports]
            portions = [" ".join(options[at : at + MAX_SET // 2]) for at in range(0, len(options), MAX_SET // 2)]
        found += Fix(tuple(f"firewall-cmd {kept}--zone={zone} {portion}"
                              for portion in portions for kept in ("", "--permanent ")))  # fmt: skip
    return found


def _zone(rule: BlockingRule, managers: FirewallManagers) -> tuple[str | None, str]:
    """The zone whose chains decide, and which part of them; else the one that rules the client's packets."""
    own = [match.group(1) for match in map(_ZONE.fullmatch, rule.location.path) if match]
    if own and own[-1].startswith("policy_"):
        return None, ""
    if own:  # from the zone's own chain packets go into those of its parts
        return own[0], own[-1][len(own[0]) + 1 :]
    return managers.zone, ""


def _iptables(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    found = _forwarded(rules)
    changed: set[tuple[Tool, Family]] = set()
    for (location, family, out), ports in sorted(_by_chain(rules), key=lambda one: -_position(one[0][0])):
        if not (_NAME.fullmatch(location.chain) and _NAME.fullmatch(location.table)):
            found += Fix((), (_UNSAFE,))
            continue
        commands = tuple(_accept(location, family, out, ports))
        found += Fix(commands)
        if _UFW_OWN.fullmatch(location.chain):
            found += Fix((), (_BEFORE,))
        elif commands:
            changed.add((location.tool, family))
    return found + _kept(changed, managers.save_commands)


def _kept(changed: Container[tuple[Tool, Family]], saves: Sequence[str]) -> Fix:
    """What keeps changes over a reboot: what saves the default variant's rules has none of the other's."""
    families = [family for family in Family if (Tool.IPTABLES, family) in changed]
    commands = dict.fromkeys(save for family, save in zip(Family, saves) if family in families)
    sentences = [_BESIDE.format(*(_binary(tool, family) for family in Family))
                 for tool in (Tool.IPTABLES_NFT, Tool.IPTABLES_LEGACY)
                 if any((tool, family) in changed for family in Family)]  # fmt: skip
    if families and not commands:
        sentences.append(_NO_SAVES)
    return Fix((" && ".join(commands),) if commands else (), tuple(sentences))


def _accept(location: RuleLocation, family: Family, out: bool, ports: Ports) -> Iterator[str]:
    table = "" if location.table == "filter" else f"-t {location.table} "
    at = f"-A {location.chain}" if location.number is None else f"-I {location.chain} {location.number}"
    side = "sport" if out else "dport"
    for transport, all_runs in ports.items():
        for chunk in _slots(all_runs):
            match = f"multiport --{side}s" if len(chunk) > 1 else f"{transport.value} --{side}"
            yield (f"{_binary(location.tool, family)} {table}{at} -p {transport.value} -m {match} {_listed(chunk)} "
                   "-j ACCEPT")  # fmt: skip


def _binary(tool: Tool, family: Family) -> str:
    return tool.value if family is Family.IPV4 else tool.value.replace("ip", "ip6", 1)


def _nft(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    found = _forwarded(rules)
    for (location, _, out), ports in _by_chain(rules):
        named = _NAME.fullmatch(location.chain) and _TABLE.fullmatch(location.table)
        if not named or (location.number is not None and location.handle is None):
            found += Fix((), (_UNSAFE,))
            continue
        at = f"{location.table} {location.chain}"
        verb = f"add rule {at}" if location.handle is None else f"insert rule {at} handle {location.handle}"
        for transport, all_runs in ports.items():
            for start in range(0, len(all_runs), MAX_SET):
                chunk = [str(run) for run in all_runs[start : start + MAX_SET]]
                which = chunk[0] if len(chunk) == 1 else f"'{{ {', '.join(chunk)} }}'"
                side = "sport" if out else "dport"
                found += Fix((f"nft {verb} {transport.value} {side} {which} accept",), (_NFT,))
    return found


def _forwarded(rules: BlockingRules) -> Fix:
    return Fix((), (_ELSEWHERE,) if any(one.action is RuleAction.REDIRECT for one in rules) else ())


_Maker = Callable[[BlockingRules, FirewallManagers], Fix]
_MAKERS: tuple[_Maker, ...] = (_unban, _docker, _ufw, _firewalld, _nft, _iptables)


def _by_chain(rules: BlockingRules) -> list[tuple[tuple[RuleLocation, Family, bool], Ports]]:
    """By chain the first place that decides there, and the ports: no rule before it decides for any of them.

    The chains of iptables are of one family; where nft's are of both, IPv4 stands for both.
    """
    groups: dict[object, list[BlockingRule]] = {}
    for one in rules:
        family = one.family if one.location.tool is not Tool.NFT else None
        key = one.location.tool, family, one.location.table, one.location.chain, blocks_answers(one)
        groups.setdefault(key, []).append(one)
    return [
        ((min((one.location for one in its), key=_position), its[0].family, blocks_answers(its[0])), _ports(its))
        for its in groups.values()
    ]


def _position(location: RuleLocation) -> float:
    return float("inf") if location.number is None else location.number


def _ports(rules: Iterable[BlockingRule]) -> Ports:
    """The ports of some rules by transport, in the fewest runs."""
    found: dict[Transport, set[int]] = {}
    for one in rules:
        found.setdefault(one.transport, set()).update(port for run in one.ports for port in run)
    return {transport: list(port_ranges(found[transport])) for transport in Transport if found.get(transport)}


def _slots(ports: Sequence[PortRange]) -> Iterator[list[PortRange]]:
    """Runs, of which there is one at least, in portions that a rule of iptables takes, and so ufw's."""
    chunk: list[PortRange] = []
    used = 0
    for run in ports:
        needed = 1 if len(run) == 1 else 2
        if used + needed > SLOTS:
            yield chunk
            chunk, used = [], 0
        chunk.append(run)
        used += needed
    yield chunk


def _listed(ports: Iterable[PortRange]) -> str:
    """As iptables and ufw write them."""
    return ",".join(str(run).replace("-", ":") for run in ports)
