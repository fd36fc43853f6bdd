"""Real firewalls of every kind: the check names the layer and the rule, and the commands that it prints open the ports.

The commands are run as they are printed, by a shell on the server's host.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import pytest

from tests import firewalls
from tests.lab import CLIENT, PROGRAMS, Check, Host, Lab, Server, check, lab, need, server, side_by_side, wrong

PLAN = "tcp 80,443,7881 udp 443,50000-50299"
UDP = "443,50000-50299"

SERVER_HOST, BEFORE = "server-host", "before-server"
FILTERED, REJECTED = f"filtered {SERVER_HOST}", f"rejected {SERVER_HOST}"
# An ICMP error a second is all that a host sends: the rest of the ports are silent.
REJECTED_UDP = f"{REJECTED} or {FILTERED}"

# Commands that would replace or empty a whole rule set, or open more than what was asked.
NEVER = re.compile(
    r"flush|-F\b|--flush|-P\b|nft (-f|delete table|delete chain)|-restore|disable|reset|stop|target=ACCEPT|trusted"
)
NAME = "meet.example"


@dataclass(frozen=True, eq=False)
class Scenario:
    """A rule set, made by commands on the server's host, and what every port has to be called; the rest is open.

    `expected6` is for IPv6, which is checked too where it is given. `quoted` has to be in the advice or its commands,
    `unsaid` must not be there.
    """

    fault: str
    made: tuple[str, ...]
    expected: Mapping[str, str]
    quoted: tuple[str, ...]
    expected6: Mapping[str, str] | None = None
    manager: Callable[[Host, Path], contextlib.AbstractContextManager[None]] | None = None
    tools: tuple[str, ...] = ()
    router: tuple[str, ...] | None = None  # rules at its hook `forward`, where there is one
    remedy: bool | None = True  # whether commands have to be printed; None where that is left open
    printed: tuple[str, ...] = ()  # all commands, where any are given
    unsaid: tuple[str, ...] = ()
    still: Mapping[str, str] = field(default_factory=dict)  # what they cannot open, for it is not this host's to open
    restart: tuple[str, ...] = ()  # what a restart does to the firewall: what was opened has to stay open
    plan: str = PLAN


def nft(table: str, *body: str) -> str:
    """The command that loads a table, given by its chains."""
    return "nft " + shlex.quote("\n".join((f"table {table} {{", *body, "}")))


def chain(hook: str, *rules: str, priority: str = "filter", policy: str = "accept", name: str = "") -> str:
    """A base chain."""
    head = f"type filter hook {hook} priority {priority}; policy {policy};"
    return f"chain {name or hook} {{ {head} {'; '.join(rules)}; }}"


def iptables(*rules: str, tool: str = "iptables") -> tuple[str, ...]:
    """The commands that add rules, each given without the tool's name."""
    return tuple(f"{tool} {rule}" for rule in rules)


def listed(ports: Iterable[int]) -> str:
    """As all these tools take them."""
    return ",".join(map(str, ports))


KNOWN = "ct state established,related accept"
STATEFUL = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
ICMP6 = "-A INPUT -p ipv6-icmp -j ACCEPT"
HTTPS_ONLY = "-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT"
ALL_UDP = "udp 443,50000-50299"
MIDDLE = (
    STATEFUL,
    "-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT",
    "-A INPUT -p udp -m udp --dport 50000:50199 -j ACCEPT",
    "-A INPUT -p udp -j DROP",
    "-A INPUT -p tcp -m tcp --dport 7881 -j REJECT --reject-with tcp-reset",
    "-A INPUT -p udp -m udp --dport 50200:50299 -j ACCEPT",
)
MIDDLE_EXPECTED = {"udp 443,50200-50299": FILTERED, "tcp 7881": REJECTED}
POLICY = (STATEFUL, HTTPS_ONLY, "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "-P INPUT DROP")
BY_ROUTER = {"udp 50100-50149": f"filtered {BEFORE}", "tcp 7881": f"filtered {BEFORE}"}
REJECTED_BY_ROUTER = {"tcp 80,7881": f"rejected {BEFORE}"}
ALL_BUT_HTTPS = {"tcp 80,7881": FILTERED, ALL_UDP: FILTERED}
ALL_BUT_HTTPS_REJECTED = {"tcp 80,7881": REJECTED, ALL_UDP: REJECTED_UDP}

# As Oracle's images for Ubuntu ship it, but that HTTPS is let in.
ORACLE = (
    *iptables(
        "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -p icmp -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT",
        "-A INPUT -p tcp -m state --state NEW -m tcp --dport 443 -j ACCEPT",
        "-A INPUT -j REJECT --reject-with icmp-host-prohibited",
        "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
        "-N InstanceServices",
        "-A OUTPUT -d 169.254.0.0/16 -j InstanceServices",
        "-A InstanceServices -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j ACCEPT",
        "-A InstanceServices -d 169.254.0.0/16 -p tcp -m tcp -j REJECT --reject-with tcp-reset",
    ),
)  # fmt: skip

# What iptables can refuse with, and the port that each is for.
CODES = {
    5001: "icmp-net-unreachable",
    5002: "icmp-host-unreachable",
    5003: "icmp-proto-unreachable",
    5004: "icmp-port-unreachable",
    5005: "icmp-net-prohibited",
    5006: "icmp-host-prohibited",
    5007: "icmp-admin-prohibited",
    5008: "tcp-reset",
}
CODES6 = {
    5001: "icmp6-no-route",
    5002: "icmp6-addr-unreachable",
    5004: "icmp6-port-unreachable",
    5007: "icmp6-adm-prohibited",
    5008: "tcp-reset",
}


def refusals(codes: Mapping[int, str]) -> Iterator[str]:
    """A rule for each."""
    for port, code in codes.items():
        yield f"-A INPUT -p tcp -m tcp --dport {port} -j REJECT --reject-with {code}"


RESTORE = ("iptables -F", "ip6tables -F", "iptables-restore </run/rules.v4", "ip6tables-restore </run/rules.v6")
UFW_ALLOWS = ("ufw allow 80,443,7881/tcp", "ufw allow 443/udp", "ufw allow 50000:50299/udp")
BAN = f"fail2ban-client set lab banip {CLIENT[0]}"
UNBAN = (f"fail2ban-client set lab unbanip {CLIENT[0]}",)
LEGACY, LEGACY6 = "iptables-legacy", "ip6tables-legacy"

# 50,000 addresses that somebody shuts out, none of them in this network.
BLOCKLIST = r"""
{
    echo 'table inet filter { chain blocklist {'
    seq 0 49999 | awk '{ printf "ip saddr 10.%d.%d.%d drop\n", $1 / 65536, $1 / 256 % 256, $1 % 256 }'
    echo '}; chain input { type filter hook input priority filter; ip saddr 10.0.0.0/8 jump blocklist'
    echo 'udp dport 50100-50149 drop; }; }'
} | nft -f -
"""

SCENARIOS = (
    Scenario("firewalld lets HTTPS in", ("firewall-cmd --permanent --add-service=https", "firewall-cmd --reload"),
             ALL_BUT_HTTPS_REJECTED, ("firewalld", "public"), manager=firewalls.firewalld,
             tools=("firewalld", "dbus-daemon"), expected6=ALL_BUT_HTTPS_REJECTED, restart=("firewall-cmd --reload",),
             unsaid=("Maybe", "list-all-policies")),
    Scenario("firewalld with half of the range in another zone",
             ("firewall-cmd --permanent --zone=internal --change-interface=eth0",
              "firewall-cmd --permanent --zone=internal --add-port=80/tcp --add-port=443/tcp --add-port=7881/tcp "
              "--add-port=443/udp --add-port=50000-50149/udp", "firewall-cmd --reload"),
             {"udp 50150-50299": REJECTED_UDP}, ("firewalld", "internal"), manager=firewalls.firewalld,
             tools=("firewalld", "dbus-daemon"), restart=("firewall-cmd --reload",)),
    Scenario("firewalld over iptables' REJECT",
             ("firewall-cmd --permanent --add-service=https", "firewall-cmd --reload",
              *iptables(STATEFUL, HTTPS_ONLY, "-A INPUT -p udp -j REJECT --reject-with icmp-host-prohibited")),
             ALL_BUT_HTTPS_REJECTED, ("public", "icmp-host-prohibited"), manager=firewalls.firewalld,
             tools=("firewalld", "dbus-daemon", "iptables"), unsaid=("Oracle",)),
    Scenario("fail2ban has banned the client", (BAN,), {"tcp 80,7881": REJECTED}, ("(fail2ban)", *UNBAN),
             manager=firewalls.fail2ban, tools=("fail2ban-server", "iptables")),
    Scenario("fail2ban has banned the client by ufw", (*UFW_ALLOWS, BAN), {"tcp 80,7881": REJECTED},
             ("(fail2ban)", "-A ufw-user-input", *UNBAN), unsaid=("(ufw)", "ufw prepend", "ufw delete", "first rule"),
             manager=firewalls.banning_ufw, tools=("fail2ban-server", "ufw"), restart=("ufw reload",)),
    Scenario("fail2ban has banned the client by firewalld",
             ("firewall-cmd --add-port=80/tcp --add-port=443/tcp --add-port=7881/tcp --add-port=443/udp "
              "--add-port=50000-50299/udp", BAN),
             {"tcp 80,7881": REJECTED}, ("(fail2ban)", "filter_IN_public_deny", *UNBAN), unsaid=("firewall-cmd",),
             manager=firewalls.banning_firewalld, tools=("fail2ban-server", "firewalld", "dbus-daemon")),
    Scenario("ufw with nothing but HTTPS", ("ufw allow 443/tcp",), ALL_BUT_HTTPS, ("ufw",), manager=firewalls.ufw,
             tools=("ufw",), expected6=ALL_BUT_HTTPS, restart=("ufw disable", "ufw --force enable"),
             unsaid=("Maybe", "tables -")),
    Scenario("ufw denies before it allows", ("ufw deny 50100:50149/udp", *UFW_ALLOWS), {"udp 50100-50149": FILTERED},
             ("--dports 50100:50149 -j DROP", "the first rule that matches"), manager=firewalls.ufw, tools=("ufw",),
             restart=("ufw reload",),
             expected6={"udp 50100-50149": FILTERED}),
    Scenario("ufw rejects", ("ufw reject 7881/tcp", "ufw reject 50200:50299/udp", *UFW_ALLOWS),
             {"tcp 7881": REJECTED, "udp 50200-50299": REJECTED_UDP}, ("ufw", "REJECT"),
             manager=firewalls.ufw, tools=("ufw",), restart=("ufw reload",)),
    Scenario("ufw allows a range that is one too short", (*UFW_ALLOWS[:2], "ufw allow 50000:50298/udp"),
             {"udp 50299": FILTERED}, ("ufw",), manager=firewalls.ufw, tools=("ufw",)),
    Scenario("ufw allows another range", (*UFW_ALLOWS[:2], "ufw allow 40000:50000/udp"),
             {"udp 50001-50299": FILTERED}, ("ufw",), manager=firewalls.ufw, tools=("ufw",)),
    Scenario("ufw denies the client's network", (f"ufw deny from {CLIENT[0]}/24 to any port 7881 proto tcp",
             *UFW_ALLOWS), {"tcp 7881": FILTERED}, ("ufw-user-input", "198.51.100.0/24"),
             manager=firewalls.ufw, tools=("ufw",)),
    Scenario("ufw allows what it has denied before",
             ("ufw deny from 198.51.100.0/24 to any port 7881 proto tcp", "ufw deny 50000:50299/udp", *UFW_ALLOWS[:2],
              "ufw allow 7881/tcp", "ufw deny 50100:50149/udp", "ufw insert 1 deny 50120/udp"),
             {"tcp 7881": FILTERED, "udp 50000-50299": FILTERED}, ("ufw",), manager=firewalls.ufw, tools=("ufw",)),
    Scenario("ufw has rules with comments and a log",
             ("ufw deny 7881/tcp comment 'shut'", "ufw deny log 50000:50299/udp", *UFW_ALLOWS[:2]),
             {"tcp 7881": FILTERED, "udp 50000-50299": FILTERED}, ("ufw",), manager=firewalls.ufw, tools=("ufw",)),
    Scenario("ufw allows every other port",
             ("ufw allow 80,443,7881/tcp", *(f"ufw allow {listed(range(first, first + 30, 2))}/udp"
                                             for first in range(50000, 50090, 30)), "ufw allow 443,50090:50299/udp"),
             {f"udp {listed(range(50001, 50090, 2))}": FILTERED}, ("ufw",), manager=firewalls.ufw, tools=("ufw",)),
    Scenario("Oracle's REJECT comes before ufw's chains", (*ORACLE, "ufw --force enable", *UFW_ALLOWS),
             ALL_BUT_HTTPS_REJECTED, ("REJECT", "icmp-host-prohibited", "ufw"), manager=None,
             tools=("ufw", "iptables")),
    Scenario("Oracle's REJECT, saved", (*ORACLE, "netfilter-persistent save"), ALL_BUT_HTTPS_REJECTED,
             ("REJECT", "icmp-host-prohibited"), manager=firewalls.persistent, tools=("iptables",), restart=RESTORE),
    Scenario("nft drops a range", (nft("inet filter", chain("input", "udp dport 50100-50199 drop")),),
             {"udp 50100-50199": FILTERED}, ("udp dport 50100-50199 drop",)),
    Scenario("nft drops one TCP port", (nft("inet filter", chain("input", KNOWN, "tcp dport 7881 drop")),),
             {"tcp 7881": FILTERED}, ("tcp dport 7881 drop",)),
    Scenario("nft drops 443 for both",
             (nft("inet filter", chain("input", "meta l4proto { tcp, udp } th dport 443 counter drop")),),
             {"tcp 443": FILTERED, "udp 443": FILTERED}, ("th dport 443",)),
    Scenario("nft drops holes", (nft("inet filter", chain("input", "udp dport { 50000, 50100-50149, 50299 } drop")),),
             {"udp 50000,50100-50149,50299": FILTERED}, ("50100-50149",)),
    Scenario("nft drops what it does not accept",
             (nft("inet filter", chain("input", KNOWN, "iif lo accept", "meta l4proto { icmp, ipv6-icmp } accept",
                                       "tcp dport { 22, 443 } accept", policy="drop")),),
             ALL_BUT_HTTPS, ("policy drop",), expected6=ALL_BUT_HTTPS),
    Scenario("nft drops all at the end of its chain",
             (nft("inet filter", chain("input", KNOWN, "meta l4proto { icmp, ipv6-icmp } accept",
                                       "tcp dport { 80, 443, 7881 } accept", "udp dport 50000-50298 accept",
                                       "udp dport 443 accept", "counter drop")),),
             {"udp 50299": FILTERED}, ("drop",)),
    Scenario("nft rejects",
             (nft("inet filter", chain("input", "udp dport 50100-50199 reject", "tcp dport 7881 reject with tcp reset",
                                       "tcp dport 80 reject with icmpx type admin-prohibited")),),
             {"udp 50100-50199": REJECTED_UDP, "tcp 80,7881": REJECTED}, ("reject with tcp reset", "admin-prohibited"),
             expected6={"udp 50100-50199": REJECTED_UDP, "tcp 80,7881": REJECTED}),
    Scenario("nft drops in a chain that it jumps to",
             (nft("inet filter", "chain media { udp dport 443 accept; udp dport 50000-50099 return; drop; };",
                  chain("input", KNOWN, "meta l4proto udp jump media", "udp dport 50050-50059 drop")),),
             {"udp 50100-50299,50050-50059": FILTERED}, ("media",)),
    Scenario("nft goes to a chain and does not come back",
             (nft("inet filter", "chain out { udp dport 50000-50099 return; };",
                  chain("input", KNOWN, "meta l4proto udp goto out", "accept", policy="drop"),
                  ),),
             {ALL_UDP: FILTERED}, ("policy drop",), expected6={ALL_UDP: FILTERED}),
    Scenario("nft drops by a set of ports",
             (nft("inet filter", "set shut { type inet_service; flags interval; elements = { 50100-50149, 50200 }; };",
                  chain("input", "udp dport @shut drop")),),
             {"udp 50100-50149,50200": FILTERED}, ("udp dport @shut drop",)),
    Scenario("nft decides by a map",
             (nft("inet filter", "map verdicts { type inet_service : verdict; elements = { 7881 : drop, 80 : accept }; "
                  "};", chain("input", "tcp dport vmap @verdicts", "udp dport vmap { 50100-50149 : drop }")),),
             {"tcp 7881": FILTERED, "udp 50100-50149": FILTERED}, ("vmap",)),
    Scenario("nft drops before connection tracking",
             (nft("inet early", chain("prerouting", "udp dport 50100-50149 drop", priority="raw")),),
             {"udp 50100-50149": FILTERED}, ("early", "prerouting", "udp dport 50100-50149 drop")),
    Scenario("nft drops the answers", (nft("inet filter", chain("output", "udp sport 50100-50149 drop")),),
             {"udp 50100-50149": FILTERED}, ("udp sport 50100-50149 drop",)),
    Scenario("nft drops the answers after routing",
             (nft("inet filter", chain("postrouting", "udp sport 50100-50149 drop")),),
             {"udp 50100-50149": FILTERED}, ("udp sport 50100-50149 drop",)),
    Scenario("nft drops the answers of TCP", (nft("inet filter", chain("output", "tcp sport 7881 drop")),),
             {"tcp 7881": FILTERED}, ("tcp sport 7881 drop",)),
    Scenario("nft has a table for each family",
             (nft("ip four", chain("input", "udp dport 50000-50099 drop")),
              nft("ip6 six", chain("input", "udp dport 50200-50299 drop"))),
             {"udp 50000-50099": FILTERED}, ("ip four", "udp dport 50000-50099 drop"),
             expected6={"udp 50200-50299": FILTERED}),
    Scenario("two tables of nft drop the same ports",
             (nft("inet one", chain("input", "udp dport 50100-50199 drop", priority="-10")),
              nft("inet two", chain("input", "udp dport 50150-50249 drop", priority="10"))),
             {"udp 50100-50249": FILTERED}, ("inet one", "inet two")),
    Scenario("nft drops on an interface", (nft("inet filter", chain("input", 'iifname "eth0" udp dport 50100 drop',
                                           'iifname "eth1" drop', "iif lo tcp dport 80 drop")),),
             {"udp 50100": FILTERED}, ("udp dport 50100 drop",)),
    Scenario("nft drops the client's network",
             (nft("inet filter", chain("input", "ip saddr 192.0.2.0/24 drop",
                                       "ip saddr 198.51.100.0/24 udp dport 50100-50149 drop")),),
             {"udp 50100-50149": FILTERED}, ("198.51.100.0/24",)),
    Scenario("nft drops by a set of addresses with timeouts",
             (nft("inet filter", "set slow { type ipv4_addr; flags dynamic, timeout; timeout 1h; "
                  f"elements = {{ {CLIENT[0]} }}; }};", chain("input", "ip saddr @slow udp dport 50100-50149 drop")),),
             {"udp 50100-50149": FILTERED}, ("@slow",), remedy=None),
    Scenario("nft drops after rules that are not understood",
             (nft("inet filter", chain("input", "udp length 9000-9999 limit rate 1/second accept",
                                       "udp dport 50100-50149 drop")),),
             {"udp 50100-50149": FILTERED}, ("udp dport 50100-50149 drop",)),
    Scenario("nft drops the answers' long packets", (nft("inet filter", chain("output", "udp length > 20 drop")),),
             {ALL_UDP: FILTERED}, ("Maybe", "udp length > 20 drop"), remedy=None),
    Scenario("nft drops at the ingress of an interface",
             (nft("netdev early", 'chain in { type filter hook ingress device "eth0" priority 0; '
                  "udp dport 50100-50149 drop; }"),),
             {"udp 50100-50149": FILTERED}, (), remedy=None),
    Scenario("nft drops all other ports", (nft("inet filter", chain("input", "udp dport != { 443, 50000-50199 } drop",
                                           "tcp dport != 80 tcp dport > 7000 tcp flags syn drop")),),
             {"udp 50200-50299": FILTERED, "tcp 7881": FILTERED}, ("udp dport != { 443, 50000-50199 } drop",)),
    Scenario("nft drops what is new", (nft("inet filter", chain("input", "ct state invalid drop", KNOWN,
                                       "ct state new udp dport 50100-50149 log prefix \"no \" drop")),),
             {"udp 50100-50149": FILTERED}, ("50100-50149",)),
    Scenario("nft drops ports of an address",
             (nft("inet filter", chain("input", f"ip saddr . udp dport {{ {CLIENT[0]} . 50100-50149 }} drop",
                                       f"ip saddr . tcp dport {{ 192.0.2.1 . 80, {CLIENT[0]} . 7881 }} drop")),),
             {"udp 50100-50149": FILTERED, "tcp 7881": FILTERED}, ("ip saddr . udp dport",)),
    Scenario("nft drops by bare bits", (nft("inet filter", chain("input", "udp dport 50123 @th,64,8 0 drop")),),
             {"udp 50123": FILTERED}, ("Maybe",), remedy=None),
    Scenario("nft takes ports out of connection tracking",
             (nft("inet early", chain("prerouting", "udp dport 50100-50149 notrack", priority="raw")),
              nft("inet filter", chain("input", KNOWN, "ct state new accept", "meta l4proto icmp accept",
                                       "meta l4proto ipv6-icmp accept", policy="drop"))),
             {"udp 50100-50149": FILTERED}, ("policy drop",)),
    Scenario("nft has a table that sleeps",
             (nft("inet asleep", "flags dormant;", chain("input", "udp dport 50000-50299 drop", priority="-10")),
              nft("inet awake", chain("input", "udp dport 50100-50149 drop"))),
             {"udp 50100-50149": FILTERED}, ("inet awake",)),
    Scenario("nft has names that a shell would read",
             (nft("inet a/b", "chain c/d { udp dport 50100-50149 drop; };", chain("input", "jump c/d", name="e/f")),),
             {"udp 50100-50149": FILTERED}, ("c/d",), remedy=None),
    Scenario("nft drops large packets",
             (nft("inet filter", chain("input", "udp dport 50100-50149 udp length > 1000 drop")),),
             {"udp 50100-50149": FILTERED}, ("Maybe", "udp dport 50100-50149 udp length > 1000 drop")),
    Scenario("nft has 50,000 rules", (BLOCKLIST,), {"udp 50100-50149": FILTERED}, ("udp dport 50100-50149 drop",)),
    Scenario("iptables drops and rejects in the middle", iptables(*MIDDLE), MIDDLE_EXPECTED,
             ("-A INPUT -p udp -j DROP", "--reject-with tcp-reset"), tools=("iptables",)),
    Scenario("iptables drops what it does not accept", iptables(*POLICY), ALL_BUT_HTTPS, ("-P INPUT DROP",),
             tools=("iptables",)),
    Scenario("iptables drops two ranges by two rules",
             iptables(STATEFUL, "-A INPUT -p udp -m udp --dport 50000:50049 -j DROP",
                      "-A INPUT -p udp -m udp --dport 50090:50099 -j ACCEPT",
                      "-A INPUT -p udp -m udp --dport 50090:50149 -j DROP", "-A INPUT -p tcp --dport 7881 -j DROP"),
             {"udp 50000-50049,50100-50149": FILTERED, "tcp 7881": FILTERED},
             ("--dport 50000:50049 -j DROP", "--dport 50090:50149 -j DROP"), tools=("iptables",),
             printed=("iptables -I INPUT 2 -p tcp -m tcp --dport 7881 -j ACCEPT",
                      "iptables -I INPUT 2 -p udp -m multiport --dports 50000:50049,50100:50149 -j ACCEPT")),
    Scenario("nft drops two ranges by two rules",
             (nft("inet filter", chain("input", KNOWN, "udp dport 50000-50049 drop", "udp dport 50090-50099 accept",
                                       "udp dport 50090-50149 drop", "tcp dport 7881 drop")),),
             {"udp 50000-50049,50100-50149": FILTERED, "tcp 7881": FILTERED},
             ("udp dport 50000-50049 drop", "udp dport 50090-50149 drop"),
             printed=("nft insert rule inet filter input handle 3 tcp dport 7881 accept",
                      "nft insert rule inet filter input handle 3 udp dport '{ 50000-50049, 50100-50149 }' accept")),
    Scenario("iptables-legacy drops and rejects in the middle", iptables(*MIDDLE, tool=LEGACY), MIDDLE_EXPECTED,
             ("-A INPUT -p udp -j DROP", "--reject-with tcp-reset"), tools=(LEGACY,)),
    Scenario("iptables-legacy drops what it does not accept", iptables(*POLICY, tool=LEGACY), ALL_BUT_HTTPS,
             ("-P INPUT DROP",), tools=(LEGACY,)),
    Scenario("iptables rejects several ports",
             iptables("-A INPUT -p tcp -m multiport --dports 80,7881 -j REJECT --reject-with icmp-admin-prohibited",
                      "-A INPUT -p udp -m multiport --dports 443,50100:50149,50299 -j DROP"),
             {"tcp 80,7881": REJECTED, "udp 443,50100-50149,50299": FILTERED},
             ("--dports 80,7881", "icmp-admin-prohibited", "50100:50149"), tools=("iptables",)),
    Scenario("iptables drops in a chain of its own",
             iptables("-N guard", "-N media", "-A INPUT -p udp -m comment --comment 'all \"UDP\"' -j guard",
                      "-A guard -p udp -m udp --dport 50100:50199 -j media", "-A guard -j ACCEPT",
                      "-A media -p udp -m udp --dport 50150:50199 -j RETURN", "-A media -j DROP"),
             {"udp 50100-50149": FILTERED}, ("media", "DROP"), tools=("iptables",)),
    Scenario("iptables drops the answers", iptables("-A OUTPUT -p udp -m udp --sport 50100:50149 -j DROP"),
             {"udp 50100-50149": FILTERED}, ("--sport 50100:50149 -j DROP",), tools=("iptables",)),
    Scenario("iptables drops in the table raw", iptables("-t raw -A PREROUTING -p udp -m udp --dport 50100:50149 "
                                                        "-j DROP"),
             {"udp 50100-50149": FILTERED}, ("raw", "PREROUTING"), tools=("iptables",)),
    Scenario("iptables drops on an interface and from an address",
             iptables("-A INPUT -i eth0 -p udp -m udp --dport 50100:50149 -j DROP", "-A INPUT -i eth1 -j DROP",
                      f"-A INPUT -s {CLIENT[0]}/32 -p tcp -m tcp --dport 7881 -j DROP",
                      "-A INPUT -s 192.0.2.0/24 -j DROP"),
             {"udp 50100-50149": FILTERED, "tcp 7881": FILTERED}, ("-i eth0", CLIENT[0]), tools=("iptables",)),
    Scenario("iptables drops after a rule that is not understood",
             iptables("-A INPUT -p udp -m string --string nothing --algo bm -j ACCEPT",
                      "-A INPUT -p udp -m udp --dport 50100:50149 -j DROP"),
             {"udp 50100-50149": FILTERED}, ("--dport 50100:50149 -j DROP",), tools=("iptables",)),
    Scenario("iptables drops every other port",
             iptables(*(f"-A INPUT -p udp -m udp --dport {port} -j DROP" for port in range(50000, 50060, 2))),
             {f"udp {listed(range(50000, 50060, 2))}": FILTERED}, ("--dport 50000 -j DROP",), tools=("iptables",)),
    Scenario("iptables drops all other ports",
             iptables("-A INPUT -p udp -m conntrack --ctstate NEW -m udp ! --dport 50000:50199 -j DROP",
                      "-A INPUT -p tcp -m tcp ! --dport 443 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"),
             {"udp 443,50200-50299": FILTERED, "tcp 80,7881": FILTERED}, ("! --dport 50000:50199",),
             tools=("iptables",)),
    Scenario("iptables goes to a chain and does not come back",
             iptables("-N out", "-A INPUT -p udp -g out", "-A INPUT -j ACCEPT", "-A out -p udp --dport 443 -j ACCEPT",
                      "-P INPUT DROP"),
             {"udp 50000-50299": FILTERED}, ("-P INPUT DROP",), tools=("iptables",)),
    Scenario("iptables drops in the tables mangle and security",
             iptables("-t mangle -A INPUT -p udp -m udp --dport 50100:50149 -j DROP",
                      "-t mangle -A POSTROUTING -p udp -m udp --sport 50200:50249 -j DROP",
                      "-t security -A INPUT -p tcp -m tcp --dport 7881 -j DROP"),
             {"udp 50100-50149,50200-50249": FILTERED, "tcp 7881": FILTERED}, ("mangle", "security"),
             tools=("iptables",)),
    Scenario("iptables has names that a shell would read",
             iptables("-N 'x;>/run/owned'", "-A INPUT -p udp -m comment --comment '`>/run/owned` $(>/run/owned)' "
                      "-j 'x;>/run/owned'", "-A 'x;>/run/owned' -p udp -m udp --dport 50100:50149 -j DROP"),
             {"udp 50100-50149": FILTERED}, ("--dport 50100:50149 -j DROP",), tools=("iptables",), remedy=None),
    Scenario("Docker sends a port to a container that is not there",
             ("ip link add docker0 up type bridge", "ip address add 172.17.0.1/16 dev docker0",
              "echo 1 >/proc/sys/net/ipv4/ip_forward",
              *iptables("-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
                        "-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 7881 -j DNAT "
                        "--to-destination 172.17.0.2:7881")),
             {"tcp 7881": REJECTED_UDP}, ("Docker", "--to-destination 172.17.0.2:7881"), tools=("iptables",),
             remedy=False, still={"tcp 7881": REJECTED_UDP}),
    Scenario("IPv4 is open and IPv6 forgotten",
             iptables(STATEFUL, ICMP6, HTTPS_ONLY, "-P INPUT DROP", tool="ip6tables"),
             {}, ("-P INPUT DROP",), expected6=ALL_BUT_HTTPS, tools=("ip6tables",)),
    Scenario("IPv4 is open and IPv6 forgotten, legacy",
             iptables(STATEFUL, ICMP6, HTTPS_ONLY, "-P INPUT DROP", tool=LEGACY6),
             {}, ("-P INPUT DROP",), expected6=ALL_BUT_HTTPS, tools=(LEGACY6,)),
    Scenario("legacy and nft both block", (*iptables(*MIDDLE, tool=LEGACY),
                                           nft("inet filter", chain("input", "udp dport 50150-50249 drop"))),
             {"udp 443,50150-50299": FILTERED, "tcp 7881": REJECTED}, ("udp dport 50150-50249 drop",), tools=(LEGACY,)),
    Scenario("both variants of iptables block", (*iptables(*MIDDLE), *iptables(*POLICY, tool=LEGACY)),
             ALL_BUT_HTTPS, ("-P INPUT DROP",), tools=("iptables", LEGACY)),
    Scenario("every ICMP error that iptables knows",
             ("echo 0 >/proc/sys/net/ipv4/icmp_ratelimit", "echo 0 >/proc/sys/net/ipv6/icmp/ratelimit",
              *iptables(*refusals(CODES)), *iptables(*refusals(CODES6), tool="ip6tables")),
             {"tcp 5001-5008": REJECTED}, ("icmp-net-unreachable",), unsaid=("Oracle",),
             expected6={f"tcp {','.join(map(str, CODES6))}": REJECTED}, plan="tcp 443,5001-5008 udp 50000",
             tools=("iptables",)),
    Scenario("a router drops", (), BY_ROUTER, (), router=("udp dport 50100-50149 drop", "tcp dport 7881 drop"),
             expected6=BY_ROUTER, remedy=False, still=BY_ROUTER),
    Scenario("a router and the host drop the same ports",
             (nft("inet filter", chain("input", "udp dport 50100-50149 drop")),),
             {"udp 50100-50149": f"filtered {BEFORE}"}, ("would drop them too",),
             router=("udp dport 50100-50149 drop",), still={"udp 50100-50149": f"filtered {BEFORE}"}),
    Scenario("a router and the host drop ports side by side",
             (nft("inet filter", chain("input", "udp dport 50150-50199 drop")),),
             {"udp 50100-50149": f"filtered {BEFORE}", "udp 50150-50199": FILTERED}, ("udp dport 50150-50199 drop",),
             router=("udp dport 50100-50149 drop",), still={"udp 50100-50149": f"filtered {BEFORE}"}),
    Scenario("a router rejects", (), REJECTED_BY_ROUTER, (),
             router=("tcp dport 7881 reject with icmpx type admin-prohibited", "tcp dport 80 reject with tcp reset"),
             expected6=REJECTED_BY_ROUTER, remedy=False, still=REJECTED_BY_ROUTER),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario: the check before and after the commands, and what the server's own report had."""

    before: Check
    advice: Sequence[Mapping[str, Any]]
    untouched: bool  # whether the server left the rules as they were
    commands: Sequence[str]
    done: Sequence[tuple[str, int, str]]  # command, status, what it printed
    after: Check
    addresses: Sequence[str]
    elsewhere: tuple[set[str], set[str]]  # what else packets got to on the server, before and after


_ELSEWHERE = PROGRAMS / "reach_unplanned_ports.py"


# The rules but for their counters, and which tables of iptables-legacy there are: they are made by asking for them.
_RULES = ("sh", "-c", "nft --stateless list ruleset; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names")


def _elsewhere(net: Lab) -> set[str]:
    return set(net.client.must(sys.executable, _ELSEWHERE, net.server.ipv4).split())


def run(scenario: Scenario, archive: Path) -> Outcome:
    """Make the rules, check, do what the server says, and check again."""
    need("iptables", *scenario.tools)
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(lab(routed=scenario.router is not None))
        directory = stack.enter_context(firewalls.own_files(net.server))
        if scenario.manager:
            stack.enter_context(scenario.manager(net.server, directory))
        for command in scenario.made:
            net.server.must("sh", "-c", command)
        if scenario.router:
            assert net.router
            net.router.rules("forward", *scenario.router)
        addresses = [net.server.ipv4] if scenario.expected6 is None else [net.server.ipv4, net.server.ipv6]
        net.client.knows({NAME: addresses})
        asked = list(itertools.chain(*zip(("--tcp", "--udp"), scenario.plan.split()[1::2])))
        rules = net.server.must(*_RULES)
        running = stack.enter_context(server(net.server, archive, *asked))
        elsewhere = _elsewhere(net)
        before = check(net.client, archive, NAME)
        advice = _advice(running)
        untouched = net.server.must(*_RULES) == rules
        commands = list(dict.fromkeys(command for one in advice for command in one["commands"]))
        done = [(one, *_did(net.server, one)) for one in commands]
        for command in scenario.restart if commands else ():
            net.server.must("sh", "-c", command)
        after = check(net.client, archive, NAME)
        assert not (directory / "run/owned").exists()
        return Outcome(before, advice, untouched, commands, done, after, addresses, (elsewhere, _elsewhere(net)))


def _advice(running: Server) -> list[Mapping[str, Any]]:
    report = running.wait_for("report", 60)["report"]
    return [one for address in report["addresses"] for one in address["advice"]]


def _did(host: Host, command: str) -> tuple[int, str]:
    done = host.run(["sh", "-c", command])
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run_one(scenario: Scenario) -> Outcome:
        return run(scenario, archive)

    with side_by_side(request, run_one) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_what_blocks_is_named_and_opened(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen = outcome(scenario)
    plan = scenario.plan
    for address, expected in zip(seen.addresses, (scenario.expected, scenario.expected6)):
        assert wrong(seen.before.report, expected, address=address, plan=plan) == []
    for entry in seen.before.report["addresses"]:
        refused = [one for one in entry["findings"] if one["state"] == "rejected" and one["where"] == SERVER_HOST]
        assert {one["by"] for one in refused} <= {entry["address"]}
        # The rules, the commands and the other addresses are for whoever sits at the server.
        assert [one["commands"] for one in entry["advice"] if one["commands"]] == []
        assert entry["server"] is None
    assert seen.untouched
    text = "\n".join(line for one in seen.advice for line in (one["text"], *one["commands"]))
    assert [word for word in scenario.quoted if word not in text] == [], text
    assert [word for word in scenario.unsaid if word in text] == [], text
    assert scenario.remedy is None or bool(seen.commands) == scenario.remedy, seen.commands
    assert scenario.printed in ((), tuple(seen.commands))
    assert [one for one in seen.commands if NEVER.search(one)] == []
    assert [one for one in seen.done if one[1] != 0] == []
    if seen.commands or scenario.remedy is False:
        for address in seen.addresses:
            assert wrong(seen.after.report, scenario.still, address=address, plan=plan) == [], seen.commands
        assert seen.after.report["verdict"] == ("fail" if scenario.still else "pass")
    assert seen.elsewhere[1] <= seen.elsewhere[0], seen.commands


def test_the_terminal_shows_each_command_on_a_line_of_its_own(net: Lab, archive: Path) -> None:
    """Also one that is wider than the terminal: whoever copies the line runs all of it."""
    holes = "{ " + ", ".join(map(str, range(50000, 50100, 2))) + " }"
    net.server.must("sh", "-c", nft("inet filter", chain("input", f"udp dport {holes} drop", "tcp dport 7881 drop")))
    command = (sys.executable, archive, "server", "--udp", "50000-50099", "--once")
    with net.server.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert any("pnmcheck.pyz client" in line for line in iter(process.stderr.readline, ""))
        check(net.client, archive, net.server.ipv4)
        printed = process.communicate(timeout=120)[0]
    commands = [line.strip() for line in printed.splitlines() if line.strip().startswith("nft ")]
    assert len(commands) == 2, printed
    assert [_did(net.server, one) for one in commands] == [(0, "")] * 2
    with server(net.server, archive, "--udp", "50000-50099"):
        assert check(net.client, archive, net.server.ipv4).report["verdict"] == "pass"
