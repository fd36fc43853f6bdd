"""Open ports in this host's own firewall: by the program that wrote the rules that block them, else by its tool.

The commands are for people who run them as root, as they stand, in a shell. A name goes into one only where it is made
of characters that mean nothing to a shell, and none replaces or removes a rule set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange, port_ranges, port_set
from .model import BlockingRule, FirewallManagers, Hook, RuleAction, RuleLocation, Tool

SLOTS = 15  # ports in one rule of iptables' multiport, of which a range takes two (iptables-extensions(8))
# Ports in one command of firewalld's, and runs in one rule of nft's: it stays far below 2,000 characters.
MAX_OPTIONS, MAX_SET = 50, 100

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,63}")
_SAFE_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SAFE_NETWORK = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:/[0-9]{1,3})?")


@dataclass(frozen=True)
class Fix:
    """Commands in the order to run them, and sentences that belong to them."""

    commands: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    def __add__(self, other: Fix) -> Fix:
        sentences = dict.fromkeys((*self.sentences, *other.sentences))
        return Fix((*self.commands, *other.commands), tuple(sentences))


_Rules = Sequence[BlockingRule]
_Ports = Dict[Transport, List[PortRange]]

_UNSAFE = Fix((), ("No command for this rule is safe to print: change the rule by hand.",))
_REDIRECTED = ("A rule redirects these ports to another program; once they are open here, that program no longer "
               "receives them.")  # fmt: skip


def blocks_answers(rule: BlockingRule) -> bool:
    """Return whether a rule stops the server's answers, and not what comes in."""
    return rule.hook in (Hook.OUTPUT, Hook.POSTROUTING)


def _ports_of(rules: _Rules) -> _Ports:
    """Return the ports that some rules block, by transport, in the fewest runs."""
    sets = {transport: port_set(run for rule in rules if rule.transport is transport for run in rule.ports)
            for transport in Transport}  # fmt: skip
    return {transport: list(port_ranges(ports)) for transport, ports in sets.items() if ports}


def _multiport(ports: Sequence[PortRange]) -> Iterator[tuple[str, int]]:
    """Yield lists of ports, as iptables and ufw write them, each of which fits into one rule; and how many runs it has.

    There is one run at least.
    """
    chunks: list[list[PortRange]] = [[]]
    used = 0
    for run in ports:
        needed = min(len(run), 2)
        if used + needed > SLOTS:
            chunks.append([])
            used = 0
        chunks[-1].append(run)
        used += needed
    return ((",".join(map(str, chunk)).replace("-", ":"), len(chunk)) for chunk in chunks)


# fail2ban (fail2ban-client(1))
_BAN_SET = re.compile(r"(?:--match-set |@)f2b-(\S+)")
_NO_BAN = "A rule of fail2ban blocks this: `fail2ban-client status` shows its jails."


def is_fail2ban_rule(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether a rule is fail2ban's: in a chain or by a set of its own, or against an address that it bans.

    In ufw's and firewalld's chains, by which it can ban, its rules have no other mark.
    """
    if rule.location.table == "inet f2b-table" or _jails(rule):
        return True
    banned = (f"{ban.address}{length}" for ban in managers.bans for length in ("", "/32", "/128"))
    return not frozenset(rule.text.split()).isdisjoint(banned)


def _jails(rule: BlockingRule) -> list[str]:
    """Return the names behind `f2b-` in those of a rule's chains and sets, which are mostly those of jails."""
    chains = [chain[len("f2b-") :] for chain in rule.location.path if chain.startswith("f2b-")]
    return chains + _BAN_SET.findall(rule.text)


def fix_fail2ban(rules: _Rules, managers: FirewallManagers) -> Fix:
    """Return what lifts the client's bans: those of the rules' jails where their names tell which, else all."""
    jails = {jail for rule in rules for jail in _jails(rule)}
    bans = [ban for ban in managers.bans if ban.jail in jails] or managers.bans
    safe = [ban for ban in bans if _SAFE_NAME.fullmatch(ban.jail) and _SAFE_NETWORK.fullmatch(ban.address)]
    commands = (f"fail2ban-client set {ban.jail} unbanip {ban.address}" for ban in safe)
    return Fix(tuple(dict.fromkeys(commands)), () if safe else (_NO_BAN,))


# Docker: no command of the firewall's undoes what it does with published ports.
_PUBLISHED = Fix((), ("Docker forwards this port to a container before ufw's and this server's own rules see it. "
                      "`docker ps` shows the container: stop it, or publish another port.",))  # fmt: skip


def is_docker_rule(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether a rule forwards the port to a container of Docker's."""
    return rule.action is RuleAction.REDIRECT and "DOCKER" in rule.location.path


# ufw (ufw(8)); what it does with each of its commands was seen with ufw 0.36.2. Its commands do not reach the chains
# that it loads from before.rules.
_UFW_INTERNAL = re.compile(r"ufw6?-(?:before-(?:input|output)|not-local)")
_NO_IPV6 = "ufw blocks all IPv6, since /etc/default/ufw says IPV6=no."


def is_ufw(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether ufw decides, in a chain of its own or by the policy that it sets."""
    location = rule.location
    if managers.ufw is None or is_fail2ban_rule(rule, managers):
        return False
    if any(chain.startswith(("ufw-", "ufw6-")) for chain in location.path):
        return True
    # ufw's iptables are of one variant; what the other, legacy, has left behind is none of its.
    current = location.tool in (Tool.IPTABLES, Tool.NFT)
    filters = current and location.table in ("filter", "ip filter", "ip6 filter")
    return filters and location.number is None and location.chain in ("INPUT", "OUTPUT")


def is_ufw_rule(rule: BlockingRule) -> bool:
    """Return whether one of the rules decides that `ufw status numbered` lists."""
    return any("-user-" in chain for chain in rule.location.path)


def _can_ufw_allow(rule: BlockingRule, managers: FirewallManagers) -> bool:
    return is_ufw(rule, managers) and (is_ufw_rule(rule) or not _UFW_INTERNAL.fullmatch(rule.location.chain))


def _fix_ufw(rules: _Rules, managers: FirewallManagers) -> Fix:
    """Return rules of ufw's that allow the ports, before its own that deny them."""
    assert managers.ufw
    commands: list[str] = []
    closed = not managers.ufw.ipv6 and any(rule.family is Family.IPV6 for rule in rules)
    if closed:
        commands += ["sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw", "ufw reload"]
    for out in (False, True):
        one_way = [rule for rule in rules if blocks_answers(rule) is out]
        for transport, runs in _ports_of(one_way).items():
            first = any(is_ufw_rule(rule) for rule in one_way if rule.transport is transport)
            for ports, _ in _multiport(runs):
                commands += _ufw_allow(ports, transport, out, first, managers.ufw.rules)
    return Fix(tuple(commands), (_NO_IPV6,) if closed else ())


def _ufw_allow(ports: str, transport: Transport, out: bool, first: bool, rules: Sequence[str]) -> Iterator[str]:
    """Yield the command that allows ports, before all rules where it has to come `first`.

    `prepend`, not `insert 1`: that fails where there is no rule, and puts the rule for IPv6 last where the two
    families' rules differ. ufw takes no rule that it has already, and leaves that where it is, so it goes first.
    """
    way = "out " if out else ""
    listed = f"{ports}/{transport.value}"
    rule = f"proto {transport.value} from any port {ports} to any" if out else listed
    if first:
        # Those of the two families, which ufw lists one by one, are deleted together.
        for action, log in dict.fromkeys(_ufw_existing(listed, out, rules)):
            yield f"ufw delete {action.lower()} {way}{f'{log} ' if log else ''}{rule}"
    yield f"ufw {'prepend ' if first else ''}allow {way}{rule}"


def _ufw_existing(ports: str, out: bool, rules: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the action and the kind of log of each rule that there is for just these ports, from and to anywhere."""
    actions, v6 = "(ALLOW|DENY|REJECT|LIMIT)", r"(?: \(v6\))?"
    inward = rf"{ports}{v6} +{actions} IN +Anywhere{v6}(?: +\((log|log-all)\))?"
    outward = rf"Anywhere{v6} +{actions} OUT +{ports}{v6} +\((?:(log|log-all), )?out\)"
    pattern = re.compile((outward if out else inward) + "(?: +#.*)?")
    for match in filter(None, map(pattern.fullmatch, rules)):
        yield match.group(1), match.group(2) or ""


# firewalld (firewall-cmd(1), firewalld.richlanguage(5))
_ZONE_CHAIN = re.compile(r"(?:filter_)?IN_(.+)")
# By the part of a zone that denies, the priority that comes before it, as no port of the zone does: before what has
# none, and before what has a negative one, of which this is the least.
_PRIORITIES = {"deny": -100, "pre": -32768}
_RICH_RULE = """--add-rich-rule='rule priority="{}" port port="{}" protocol="{}" accept'"""
_POLICY = Fix((), ("firewalld blocks or redirects this by something else than a zone's ports: `firewall-cmd "
                   "--list-all-zones` and `firewall-cmd --list-all-policies` show it.",))  # fmt: skip


def _is_firewalld_rule(rule: BlockingRule, managers: FirewallManagers) -> bool:
    return rule.location.table == "inet firewalld" or "INPUT_ZONES" in rule.location.path


def _fix_firewalld(rules: _Rules, managers: FirewallManagers) -> Fix:
    """Return commands for what runs and for what is kept: a reload would lose whatever else runs and is not kept."""
    fix = Fix()
    by_zone: dict[tuple[str, int | None], list[BlockingRule]] = {}
    for rule in rules:
        zone, part = _zone(rule, managers)
        if rule.hook is not Hook.INPUT or zone is None:
            fix += _POLICY
        elif not _SAFE_NAME.fullmatch(zone):
            fix += _UNSAFE
        else:
            by_zone.setdefault((zone, _PRIORITIES.get(part)), []).append(rule)
    for (zone, priority), group in by_zone.items():
        ports = [(run, transport.value) for transport, runs in _ports_of(group).items() for run in runs]
        options = [f"--add-port={run}/{transport}" for run, transport in ports]
        options = [" ".join(options[start : start + MAX_OPTIONS]) for start in range(0, len(options), MAX_OPTIONS)]
        if priority:
            options = [_RICH_RULE.format(priority, *port) for port in ports]
        commands = (f"firewall-cmd {kept}--zone={zone} {option}" for option in options for kept in ("", "--permanent "))
        fix += Fix(tuple(commands))
    return fix


def _zone(rule: BlockingRule, managers: FirewallManagers) -> tuple[str | None, str]:
    """Return the zone whose chains decide, and which part of them; else the zone of the client's packets."""
    names = [match.group(1) for match in map(_ZONE_CHAIN.fullmatch, rule.location.path) if match]
    if not names:
        return managers.zone, ""
    if names[-1].startswith("policy_"):
        return None, ""
    return names[0], names[-1][len(names[0]) + 1 :]  # from the zone's own chain packets go into those of its parts


class _Insertion(NamedTuple):
    """Where a rule has to come so that these ports pass: before the first rule of the chain that blocks any of them."""

    location: RuleLocation
    family: Family
    side: str  # of the packets that has the ports
    ports: _Ports


def _insertions(rules: _Rules) -> list[_Insertion]:
    """Return one insertion for each chain, and each way that packets take through it.

    The chains of iptables are of one family; where nft's are of both, IPv4 stands for both.
    """
    groups: dict[object, list[BlockingRule]] = {}
    for rule in rules:
        family = rule.family if rule.location.tool is not Tool.NFT else None
        key = rule.location.tool, family, rule.location.table, rule.location.chain, blocks_answers(rule)
        groups.setdefault(key, []).append(rule)
    return [
        _Insertion(min((rule.location for rule in group), key=_position), group[0].family,
                   "sport" if blocks_answers(group[0]) else "dport", _ports_of(group))
        for group in groups.values()
    ]  # fmt: skip


def _position(location: RuleLocation) -> float:
    """Return the number of a rule; infinite where it is the chain's policy."""
    return float("inf") if location.number is None else location.number


# nftables (nft(8))
_NFT_NOT_SAVED = ("This is lost at the next reboot: add the same rule to the file that the rules are loaded from, "
                  "/etc/nftables.conf.")  # fmt: skip


def _fix_nftables(rules: _Rules, managers: FirewallManagers) -> Fix:
    """Return the rules to insert, in each chain before its first blocking rule."""
    fix = _redirected(rules)
    for location, _, side, ports in _insertions(rules):
        named = _SAFE_NAME.fullmatch(location.chain) and _SAFE_TABLE.fullmatch(location.table)
        if not named or (location.number is not None and location.handle is None):
            fix += _UNSAFE
            continue
        chain = f"{location.table} {location.chain}"
        verb = f"add rule {chain}" if location.handle is None else f"insert rule {chain} handle {location.handle}"
        for transport, runs in ports.items():
            for start in range(0, len(runs), MAX_SET):
                listed = ", ".join(map(str, runs[start : start + MAX_SET]))
                which = f"'{{ {listed} }}'" if "," in listed else listed
                fix += Fix((f"nft {verb} {transport.value} {side} {which} accept",), (_NFT_NOT_SAVED,))
    return fix


def _redirected(rules: _Rules) -> Fix:
    return Fix((), (_REDIRECTED,) if any(rule.action is RuleAction.REDIRECT for rule in rules) else ())


# iptables (iptables-extensions(8))
_NOT_SAVED = ("This is lost at the next reboot: on Debian and Ubuntu `apt install iptables-persistent` keeps it; on "
              "others add it to the file that the rules are loaded from.")  # fmt: skip
_NOT_SAVED_BY = "This is lost at the next reboot: `{}-save` and `{}-save` print the rules to load then."
_UFW_RELOAD = "`ufw reload` removes this rule: add it to /etc/ufw/before.rules and /etc/ufw/before6.rules too."


def _fix_iptables(rules: _Rules, managers: FirewallManagers) -> Fix:
    """Return the rules to insert, in each chain before its first blocking rule, and what saves them."""
    fix = _redirected(rules)
    changed: set[tuple[Tool, Family]] = set()
    # From the last rule of a chain on: so the numbers of those before it stay.
    for insertion in sorted(_insertions(rules), key=lambda insertion: -_position(insertion.location)):
        location = insertion.location
        if not (_SAFE_NAME.fullmatch(location.chain) and _SAFE_NAME.fullmatch(location.table)):
            fix += _UNSAFE
            continue
        fix += Fix(tuple(_iptables_accept(insertion)))
        if _UFW_INTERNAL.fullmatch(location.chain):
            fix += Fix((), (_UFW_RELOAD,))
        elif insertion.ports:
            changed.add((location.tool, insertion.family))
    # What saves the default variant's rules has none of the other's.
    families = [family for family in Family if (Tool.IPTABLES, family) in changed]
    saves = dict.fromkeys(save for family, save in zip(Family, managers.save_commands) if family in families)
    sentences = [_NOT_SAVED_BY.format(*(_iptables(tool, family) for family in Family))
                 for tool in (Tool.IPTABLES_NFT, Tool.IPTABLES_LEGACY)
                 if any((tool, family) in changed for family in Family)]  # fmt: skip
    if families and not saves:
        sentences.append(_NOT_SAVED)
    return fix + Fix((" && ".join(saves),) if saves else (), tuple(sentences))


def _iptables_accept(insertion: _Insertion) -> Iterator[str]:
    location, family, side, ports = insertion
    command = _iptables(location.tool, family) + ("" if location.table == "filter" else f" -t {location.table}")
    place = f"-A {location.chain}" if location.number is None else f"-I {location.chain} {location.number}"
    for transport, runs in ports.items():
        for listed, count in _multiport(runs):
            match = f"multiport --{side}s" if count > 1 else f"{transport.value} --{side}"
            yield f"{command} {place} -p {transport.value} -m {match} {listed} -j ACCEPT"


def _iptables(tool: Tool, family: Family) -> str:
    return tool.value if family is Family.IPV4 else tool.value.replace("ip", "ip6", 1)


class Fixer(NamedTuple):
    """The name of a program that writes rules, if any; which are its own; and what opens the ports that they block."""

    name: str | None
    recognises: Callable[[BlockingRule, FirewallManagers], bool]
    fix: Callable[[_Rules, FirewallManagers], Fix]


# The first that recognises a rule opens its ports; this is the order of the commands too. A firewall is added here.
FIXERS = (
    Fixer("fail2ban", is_fail2ban_rule, fix_fail2ban),
    Fixer("Docker", is_docker_rule, lambda *_: _PUBLISHED),
    Fixer("ufw", _can_ufw_allow, _fix_ufw),
    Fixer("firewalld", _is_firewalld_rule, _fix_firewalld),
    Fixer(None, lambda rule, _: rule.location.tool is Tool.NFT, _fix_nftables),
    Fixer(None, lambda *_: True, _fix_iptables),
)


def fix_for(rules: _Rules, managers: FirewallManagers) -> Fix:
    """Return what opens the ports that these rules block; each port is named once a family."""
    fix = Fix()
    fixers = [(rule, _fixer(rule, managers)) for rule in rules]
    for fixer in FIXERS:
        own = [rule for rule, its_fixer in fixers if its_fixer is fixer]
        if own:
            fix += fixer.fix(own, managers)
    return fix


def _fixer(rule: BlockingRule, managers: FirewallManagers) -> Fixer:
    return next(fixer for fixer in FIXERS if fixer.recognises(rule, managers))


def manager_of(rule: BlockingRule, managers: FirewallManagers) -> str | None:
    """Return the name of the program that wrote a rule, where it can be told."""
    return "ufw" if is_ufw(rule, managers) else _fixer(rule, managers).name
