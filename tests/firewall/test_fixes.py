from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.address import Family
from agent.core.plan import Transport
from agent.core.ports import PortRange, parse_ports
from agent.firewall import common_mistakes
from agent.firewall.fixes import Fix, fix_for, manager_of
from agent.firewall.model import Ban, BlockingRule, FirewallManagers, Hook, RuleAction, RuleLocation, Tool, UfwStatus

TCP, UDP = Transport.TCP, Transport.UDP
V4, V6 = Family.IPV4, Family.IPV6
SAVE = "netfilter-persistent save"
PERSISTENT = (SAVE, SAVE)
UFW = FirewallManagers(ufw=UfwStatus(("22/tcp                     ALLOW IN    Anywhere",)), save_commands=PERSISTENT)
SAVES = FirewallManagers(save_commands=PERSISTENT)


def blocking_rule(
    ports: str, path: str = "INPUT", number: int | None = 5, *, tool: Tool = Tool.IPTABLES, table: str = "filter",
    handle: int | None = None, family: Family = V4, hook: Hook = Hook.INPUT, action: RuleAction = RuleAction.DROP,
    **rest: Any,
) -> BlockingRule:  # fmt: skip
    """A decision for ports such as `50000-60000/udp`, in the last chain of a path such as `INPUT ufw-user-input`."""
    listed, _, transport = ports.partition("/")
    location = RuleLocation(tool, table, tuple(path.split()), number, handle)
    return BlockingRule(Transport(transport), family, parse_ports(listed), hook, action, location, "the rule", **rest)


def nft(ports: str, path: str = "input", number: int | None = 3, handle: int | None = 7, **rest: Any) -> BlockingRule:
    return blocking_rule(ports, path, number, **{"tool": Tool.NFT, "table": "inet filter", "handle": handle, **rest})


def commands(*decisions: BlockingRule, managers: FirewallManagers = SAVES) -> list[str]:
    return list(fix_for(decisions, managers).commands)


def test_nothing_blocks() -> None:
    assert fix_for([], FirewallManagers()) == Fix()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (blocking_rule("50000-60000/udp"), "iptables -I INPUT 5 -p udp -m udp --dport 50000:60000 -j ACCEPT"),
        (blocking_rule("443/tcp"), "iptables -I INPUT 5 -p tcp -m tcp --dport 443 -j ACCEPT"),
        (blocking_rule("80,443,7881/tcp"), "iptables -I INPUT 5 -p tcp -m multiport --dports 80,443,7881 -j ACCEPT"),
        (blocking_rule("443,50000-60000/udp"),
         "iptables -I INPUT 5 -p udp -m multiport --dports 443,50000:60000 -j ACCEPT"),
        (blocking_rule("443/udp", number=None), "iptables -A INPUT -p udp -m udp --dport 443 -j ACCEPT"),
        (blocking_rule("443/udp", family=V6), "ip6tables -I INPUT 5 -p udp -m udp --dport 443 -j ACCEPT"),
        (blocking_rule("443/udp", "INPUT my-chain", 1), "iptables -I my-chain 1 -p udp -m udp --dport 443 -j ACCEPT"),
        (blocking_rule("443/udp", "PREROUTING", 2, table="raw", hook=Hook.PREROUTING),
         "iptables -t raw -I PREROUTING 2 -p udp -m udp --dport 443 -j ACCEPT"),
        (blocking_rule("443/udp", "OUTPUT", 2, hook=Hook.OUTPUT),
         "iptables -I OUTPUT 2 -p udp -m udp --sport 443 -j ACCEPT"),
        (blocking_rule("443,445/udp", "POSTROUTING", 2, table="mangle", hook=Hook.POSTROUTING),
         "iptables -t mangle -I POSTROUTING 2 -p udp -m multiport --sports 443,445 -j ACCEPT"),
    ],
)  # fmt: skip
def test_iptables(given: BlockingRule, wanted: str) -> None:
    assert fix_for([given], SAVES) == Fix((wanted, SAVE))


def test_the_variant_of_iptables_that_has_the_rule() -> None:
    location = RuleLocation(Tool.IPTABLES_LEGACY, "filter", ("INPUT",), 5)
    legacy = [replace(blocking_rule("443/tcp", family=family), location=location) for family in Family]
    found = fix_for(legacy, SAVES)
    assert found.commands == (
        "iptables-legacy -I INPUT 5 -p tcp -m tcp --dport 443 -j ACCEPT",
        "ip6tables-legacy -I INPUT 5 -p tcp -m tcp --dport 443 -j ACCEPT",
    )
    assert "`iptables-legacy-save`" in found.sentences[0]  # what the default variant saves has not got them


@pytest.mark.parametrize(
    ("families", "save"),
    [
        ((V4,), "service iptables save"),
        ((V6,), "service ip6tables save"),
        ((V6, V4), "service iptables save && service ip6tables save"),
    ],
)
def test_what_keeps_the_rules_of_each_family(families: tuple[Family, ...], save: str) -> None:
    services = FirewallManagers(save_commands=("service iptables save", "service ip6tables save"))
    changed = [blocking_rule("443/tcp", family=one) for one in families]
    assert commands(*changed, managers=services)[len(changed) :] == [save]
    # What was not changed is not saved.
    unsafe = [blocking_rule("80/tcp", "INPUT a;b", family=one) for one in Family]
    assert commands(*unsafe, *changed, managers=services)[len(changed) :] == [save]
    assert commands(*unsafe, managers=services) == []


def test_what_keeps_the_rules_is_the_last_of_this_hosts_commands() -> None:
    assert commands(blocking_rule("443/tcp"), nft("443/tcp"))[-1] == SAVE  # of too many, all but the last are cut off


def test_each_variant_that_was_changed_is_kept() -> None:
    found = fix_for([blocking_rule("443/tcp", tool=one) for one in (Tool.IPTABLES, Tool.IPTABLES_NFT)], SAVES)
    assert [line.split()[0] for line in found.commands] == ["iptables", "iptables-nft", "netfilter-persistent"]
    assert found.sentences == (
        "This is lost at the next reboot: `iptables-nft-save` and `ip6tables-nft-save` print the rules to load then.",
    )


def test_where_nothing_keeps_the_rules_it_says_so() -> None:
    found = fix_for([blocking_rule("443/tcp")], FirewallManagers())
    assert len(found.commands) == 1
    assert "lost at the next reboot" in found.sentences[0]


def test_the_fewest_commands_at_the_first_rule_that_decides() -> None:
    assert commands(
        blocking_rule("53000-60000/udp", number=9),
        blocking_rule("50000-52999/udp", number=3),
        blocking_rule("443/tcp", number=None),
        blocking_rule("443/udp", number=7),
        blocking_rule("80/tcp", "INPUT other", 4),
    ) == [
        "iptables -I other 4 -p tcp -m tcp --dport 80 -j ACCEPT",
        "iptables -I INPUT 3 -p tcp -m tcp --dport 443 -j ACCEPT",
        "iptables -I INPUT 3 -p udp -m multiport --dports 443,50000:60000 -j ACCEPT",
        SAVE,
    ]


def test_so_many_ports_as_a_rule_takes() -> None:
    singles = list(range(1, 100, 2))
    made = commands(blocking_rule(f"{','.join(map(str, singles))}/udp", family=V6), managers=FirewallManagers())
    assert [line.count(",") + 1 for line in made] == [15] * 3 + [5]
    pairs = commands(
        blocking_rule(f"{','.join(f'{one}-{one + 1}' for one in range(1, 60, 4))}/udp"), managers=FirewallManagers()
    )
    assert [line.count(":") for line in pairs] == [7, 7, 1]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (nft("50000-60000/udp"), "nft insert rule inet filter input handle 7 udp dport 50000-60000 accept"),
        (nft("80,443/tcp", "input web", 1, 4),
         "nft insert rule inet filter web handle 4 tcp dport '{ 80, 443 }' accept"),
        (nft("443/udp", number=None, handle=None), "nft add rule inet filter input udp dport 443 accept"),
        (nft("443/udp", "OUT", hook=Hook.OUTPUT, table="ip raw"),
         "nft insert rule ip raw OUT handle 7 udp sport 443 accept"),
    ],
)  # fmt: skip
def test_nft(given: BlockingRule, wanted: str) -> None:
    found = fix_for([given], SAVES)
    assert found.commands == (wanted,)
    assert "/etc/nftables.conf" in found.sentences[0]


def test_a_chain_of_both_families_gets_one_rule() -> None:
    both = [nft("443/udp", family=one) for one in Family]
    assert commands(*both) == ["nft insert rule inet filter input handle 7 udp dport 443 accept"]
    later = nft("445/udp", number=8, handle=2, family=V6)
    assert commands(later, *both) == ["nft insert rule inet filter input handle 7 udp dport '{ 443, 445 }' accept"]


def test_a_rule_without_its_handle_is_left_to_people() -> None:
    found = fix_for([nft("443/udp", handle=None)], SAVES)
    assert found.commands == ()
    assert "by hand" in found.sentences[0]


def test_scattered_ports_stay_within_a_command() -> None:
    ports = ",".join(map(str, range(50000, 50800, 2)))
    made = commands(nft(f"{ports}/udp"))
    assert len(made) == 4
    assert max(map(len, made)) < 1000


# What ufw 0.36.2 does with each of these was seen.
def ufw_rule(ports: str, number: int = 1, **rest: Any) -> BlockingRule:
    return blocking_rule(ports, "INPUT ufw-before-input ufw-user-input", number, **rest)


@pytest.mark.parametrize(
    "given",
    [
        blocking_rule("50000-60000/udp", number=None),
        blocking_rule("50000-60000/udp", number=None, family=V6),
        blocking_rule("50000-60000/udp", "INPUT ufw-reject-input", 1),
        blocking_rule("50000-60000/udp", "INPUT ufw6-after-input ufw6-skip-to-policy-input", 1, family=V6),
        nft("50000-60000/udp", "INPUT", None, None, table="ip filter"),
    ],
)
def test_ufw_that_denies_by_default(given: BlockingRule) -> None:
    assert fix_for([given], UFW) == Fix(("ufw allow 50000:60000/udp",))


def test_ufw_whose_own_rule_denies() -> None:
    assert commands(ufw_rule("50000-60000/udp"), managers=UFW) == ["ufw prepend allow 50000:60000/udp"]
    limit = blocking_rule("443/tcp", "INPUT ufw-before-input ufw-user-input ufw-user-limit", 2)
    assert commands(limit, managers=UFW) == ["ufw prepend allow 443/tcp"]


@pytest.mark.parametrize(
    ("rule", "deleted"),
    [
        ("50000:50999/udp            DENY IN     Anywhere", "ufw delete deny 50000:50999/udp"),
        ("50000:50999/udp            ALLOW IN    Anywhere", "ufw delete allow 50000:50999/udp"),
        ("50000:50999/udp            REJECT IN   Anywhere", "ufw delete reject 50000:50999/udp"),
        ("50000:50999/udp            DENY IN     Anywhere                   # shut", "ufw delete deny 50000:50999/udp"),
        (
            "50000:50999/udp            ALLOW IN    Anywhere                   (log)",
            "ufw delete allow log 50000:50999/udp",
        ),
        (
            "50000:50999/udp            DENY IN     Anywhere                   (log-all) # shut",
            "ufw delete deny log-all 50000:50999/udp",
        ),
        ("50000:50999/udp (v6)       DENY IN     Anywhere (v6)", "ufw delete deny 50000:50999/udp"),
        ("50000:50999/udp            DENY IN     198.51.100.0/24", None),
        ("50000:50999/udp            DENY OUT    Anywhere", None),
        ("150000:50999/udp           DENY IN     Anywhere", None),
    ],
)
def test_a_rule_that_ufw_has_already_would_stay_where_it_is(rule: str, deleted: str | None) -> None:
    managers = FirewallManagers(ufw=UfwStatus((rule, rule)))
    default = blocking_rule("50000-50999/udp", number=None)
    assert commands(default, managers=managers) == ["ufw allow 50000:50999/udp"]  # none of its rules is in the way
    made = commands(ufw_rule("50000-50999/udp"), managers=managers)
    assert made == [*filter(None, [deleted]), "ufw prepend allow 50000:50999/udp"]


def test_ufw_merges_ports() -> None:
    assert commands(
        blocking_rule("443,50000-60000/udp", number=None), blocking_rule("80,443/tcp", number=None),
        blocking_rule("80,443/tcp", number=None, family=V6), ufw_rule("7881/tcp"), managers=UFW,
    ) == ["ufw prepend allow 80,443,7881/tcp", "ufw allow 443,50000:60000/udp"]  # fmt: skip


def test_ufw_lets_answers_out() -> None:
    denied = blocking_rule("443,50000-60000/udp", "OUTPUT ufw-before-output ufw-user-output", 1, hook=Hook.OUTPUT)
    assert commands(denied, managers=UFW) == ["ufw prepend allow out proto udp from any port 443,50000:60000 to any"]
    policy = blocking_rule("443/tcp", "OUTPUT", None, hook=Hook.OUTPUT)
    assert commands(policy, managers=UFW) == ["ufw allow out proto tcp from any port 443 to any"]


def test_a_rule_of_ufws_own_that_keeps_answers_in() -> None:
    rules = ("Anywhere                   DENY OUT    443/udp                    (out)",)
    denied = blocking_rule("443/udp", "OUTPUT ufw-before-output ufw-user-output", 1, hook=Hook.OUTPUT)
    assert commands(denied, managers=FirewallManagers(ufw=UfwStatus(rules))) == [
        "ufw delete deny out proto udp from any port 443 to any",
        "ufw prepend allow out proto udp from any port 443 to any",
    ]


def test_a_chain_for_both_ways_gets_a_rule_for_each() -> None:
    both = [blocking_rule("443/udp", "INPUT mine", 1), blocking_rule("443/udp", "OUTPUT mine", 1, hook=Hook.OUTPUT)]
    assert [line.split(" -m ")[1] for line in commands(*both)[:2]] == [
        "udp --dport 443 -j ACCEPT", "udp --sport 443 -j ACCEPT"
    ]  # fmt: skip


def test_ufw_that_knows_no_ipv6() -> None:
    only_ipv4 = FirewallManagers(ufw=UfwStatus((), ipv6=False))
    found = fix_for([blocking_rule("443/udp", number=None, family=V6)], only_ipv4)
    assert found.commands == (
        "sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw", "ufw reload", "ufw allow 443/udp"
    )  # fmt: skip
    assert "IPV6=no" in found.sentences[0]
    assert commands(blocking_rule("443/udp", number=None), managers=only_ipv4) == ["ufw allow 443/udp"]


def test_what_ufw_cannot_allow() -> None:
    before = blocking_rule("443/udp", "INPUT ufw-before-input", 4)
    found = fix_for([before], UFW)
    assert found.commands == ("iptables -I ufw-before-input 4 -p udp -m udp --dport 443 -j ACCEPT",)
    assert "before.rules" in found.sentences[0]
    # A rule before ufw's chains, as in Oracle's images; or ufw's chains without ufw.
    first = blocking_rule("443/udp", "INPUT", 5)
    assert commands(first, managers=UFW)[0].startswith("iptables -I INPUT 5 ")
    assert commands(before, first, managers=UFW)[-1] == SAVE
    assert commands(ufw_rule("443/udp"))[0].startswith("iptables -I ufw-user-input 1 ")
    assert commands(blocking_rule("443/udp", "INPUT", None, table="mangle"), managers=UFW)[0].startswith(
        "iptables -t mangle"
    )
    left_behind = blocking_rule("443/udp", "INPUT", None, tool=Tool.IPTABLES_LEGACY)
    assert commands(left_behind, managers=UFW)[0].startswith("iptables-legacy -A INPUT ")
    assert commands(blocking_rule("443/udp", "other", None), managers=UFW)[0].startswith("iptables -A other")


PUBLIC = "filter_INPUT filter_INPUT_ZONES filter_IN_public"


def firewalld(ports: str, path: str = PUBLIC, **rest: Any) -> BlockingRule:
    return nft(ports, path, **{"table": "inet firewalld", **rest})


ZONE = FirewallManagers(zone="public")


@pytest.mark.parametrize(
    ("path", "zone"),
    [
        ("filter_INPUT filter_INPUT_ZONES filter_IN_dmz", "dmz"),
        ("filter_INPUT filter_INPUT_ZONES filter_IN_my-zone filter_IN_my-zone_post", "my-zone"),
        ("filter_INPUT filter_INPUT_ZONES filter_IN_my_deny filter_IN_my_deny_log", "my_deny"),
        ("filter_INPUT filter_INPUT_ZONES filter_IN_my_deny", "my_deny"),
        ("filter_INPUT", "public"),
    ],
)
def test_firewalld(path: str, zone: str) -> None:
    ports = "--add-port=443/tcp --add-port=443/udp --add-port=50000-60000/udp"
    made = commands(firewalld("443,50000-60000/udp", path), firewalld("443/tcp", path, family=V6), managers=ZONE)
    assert made == [f"firewall-cmd --zone={zone} {ports}", f"firewall-cmd --permanent --zone={zone} {ports}"]


def test_firewalld_over_iptables() -> None:
    rule = blocking_rule("443/tcp", "INPUT INPUT_ZONES IN_public IN_public_post", 1)
    assert commands(rule, managers=ZONE)[0] == "firewall-cmd --zone=public --add-port=443/tcp"


@pytest.mark.parametrize(("part", "priority"), [("deny", -100), ("pre", -32768)])
def test_what_firewalld_denies_by_a_rich_rule(part: str, priority: int) -> None:
    denied = f"filter_INPUT filter_INPUT_ZONES filter_IN_public filter_IN_public_{part}"
    rule = f"""--add-rich-rule='rule priority="{priority}" port port="53000-53999" protocol="udp" accept'"""
    assert commands(firewalld("53000-53999/udp", denied), managers=ZONE) == [
        f"firewall-cmd --zone=public {rule}", f"firewall-cmd --permanent --zone=public {rule}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        firewalld("443/tcp", "filter_OUTPUT", hook=Hook.OUTPUT),
        firewalld("443/tcp", "filter_PREROUTING", hook=Hook.PREROUTING),
        firewalld("443/tcp", "filter_INPUT filter_IN_policy_mine filter_IN_policy_mine_post"),
    ],
)
def test_what_no_port_of_a_zone_opens(given: BlockingRule) -> None:
    found = fix_for([given], ZONE)
    assert found.commands == ()
    assert "`firewall-cmd --list-all-policies`" in found.sentences[0]


def test_firewalld_whose_zone_could_not_be_read() -> None:
    assert fix_for([firewalld("443/tcp", "filter_INPUT")], FirewallManagers()).commands == ()


def test_many_ports_of_firewalld() -> None:
    ports = ",".join(map(str, range(50000, 50300, 2)))
    made = commands(firewalld(f"{ports}/udp"), managers=ZONE)
    assert len(made) == 6
    assert max(map(len, made)) < 2000


BANS = FirewallManagers(bans=(Ban("sshd", "203.0.113.2"), Ban("portscan", "2001:db8::/32")))


@pytest.mark.parametrize(
    ("given", "jails"),
    [
        (blocking_rule("443/tcp", "INPUT f2b-sshd", 1), ["sshd"]),
        (blocking_rule("443/tcp", "INPUT f2b-portscan", 1), ["portscan"]),
        (nft("443/tcp", "f2b-chain", 1, table="inet f2b-table"), ["sshd", "portscan"]),
        (blocking_rule("443/tcp", "INPUT f2b-other", 1), ["sshd", "portscan"]),
    ],
)
def test_a_ban_is_lifted(given: BlockingRule, jails: list[str]) -> None:
    addresses = {ban.jail: ban.address for ban in BANS.bans}
    assert commands(given, managers=BANS) == [f"fail2ban-client set {jail} unbanip {addresses[jail]}" for jail in jails]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (ufw_rule("443/tcp"), "-A ufw-user-input -s 203.0.113.2/32 -j REJECT --reject-with icmp-port-unreachable"),
        (firewalld("443/tcp", f"{PUBLIC} filter_IN_public_deny"), "ip saddr 203.0.113.2 tcp dport 443 reject"),
        (
            blocking_rule("443/tcp", "INPUT INPUT_ZONES IN_public IN_public_deny"),
            "-A IN_public_deny -s 203.0.113.2/32 -j x",
        ),
        (blocking_rule("443/tcp", "INPUT", family=V6), "-A INPUT -s 2001:db8::/32 -j DROP"),
        (blocking_rule("443/tcp", "INPUT INPUT_direct"), "-A INPUT_direct -m set --match-set f2b-sshd src -j REJECT"),
        (firewalld("443/tcp", f"{PUBLIC} filter_IN_public_deny"), "ip saddr @f2b-other reject"),
    ],
)
def test_a_ban_is_fail2bans_in_whosever_chain_it_stands(given: BlockingRule, text: str) -> None:
    managers = replace(BANS, ufw=UfwStatus((), True), zone="public")
    ban = replace(given, text=text)
    assert manager_of(ban, managers) == "fail2ban"
    assert common_mistakes.ufw_order([ban], managers) is None
    made = commands(ban, managers=managers)
    assert made[0] == "fail2ban-client set sshd unbanip 203.0.113.2"
    assert all(line.startswith("fail2ban-client ") for line in made)
    assert len(made) == (1 if "f2b-sshd" in text else 2)  # who bans is told by its set alone


@pytest.mark.parametrize(
    "text", ["-s 203.0.113.20/32 -j DROP", "-s 203.0.113.0/24 -j DROP", "--comment f2b-sshd", "ip saddr 2.203.0.113.2"]
)
def test_what_is_no_ban(text: str) -> None:
    other = replace(ufw_rule("443/tcp"), text=text)
    managers = replace(BANS, ufw=UfwStatus())
    assert manager_of(other, managers) == "ufw"
    assert commands(other, managers=managers) == ["ufw prepend allow 443/tcp"]


def test_a_ban_that_nobody_knows_of() -> None:
    for bans in ((), (Ban("a; reboot", "203.0.113.2"),), (Ban("sshd", "$(reboot)"),)):
        found = fix_for([blocking_rule("443/tcp", "INPUT f2b-sshd", 1)], FirewallManagers(bans=bans))
        assert found.commands == ()
        assert "fail2ban" in found.sentences[0]


def test_what_docker_publishes_is_not_opened() -> None:
    found = fix_for(
        [
            blocking_rule(
                "443/tcp", "PREROUTING DOCKER", 2, table="nat", hook=Hook.PREROUTING, action=RuleAction.REDIRECT
            )
        ],
        UFW,
    )
    assert found.commands == ()
    assert "`docker ps`" in found.sentences[0]


@pytest.mark.parametrize("made", [blocking_rule, nft])
def test_a_forwarding_of_somebody_elses(made: Any) -> None:
    found = fix_for([made("443/tcp", "PREROUTING", 2, hook=Hook.PREROUTING, action=RuleAction.REDIRECT)], SAVES)
    assert found.commands
    assert "to another program" in found.sentences[0]


UNSAFE = ["a;reboot", "$(reboot)", "-j", "a'b", "a" * 65, "ä", "a\n"]


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_a_shell_would_read_get_into_no_command(name: str) -> None:
    location = RuleLocation(Tool.IPTABLES, "filter", ("INPUT", name), 1)
    zoned = ("filter_INPUT", f"filter_IN_{name}")
    for given in (
        replace(blocking_rule("443/tcp"), location=location),
        replace(blocking_rule("443/tcp"), location=replace(location, table=name, path=("INPUT",))),
        replace(blocking_rule("443/tcp"), location=replace(location, tool=Tool.NFT, table="inet filter", handle=1)),
        replace(
            blocking_rule("443/tcp"),
            location=replace(location, tool=Tool.NFT, table=f"inet {name}", path=("i",), handle=1),
        ),
        replace(
            blocking_rule("443/tcp"), location=replace(location, tool=Tool.NFT, table="inet firewalld", path=zoned)
        ),
    ):
        found = fix_for([given], FirewallManagers(zone=name))
        assert found.commands == ()
        assert "by hand" in found.sentences[0]


def test_ports_that_are_joined() -> None:
    split = replace(blocking_rule("443/tcp"), ports=(PortRange(50001, 50002), PortRange(50000, 50000)))
    assert "--dport 50000:50002 " in commands(split)[0]


def test_a_decision_about_no_port() -> None:
    for managers in (SAVES, UFW):
        assert commands(replace(blocking_rule("443/tcp", number=None), ports=()), managers=managers) == []
