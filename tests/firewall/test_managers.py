"""ufw, firewalld and fail2ban as the real ones print (goldens/), and when they fail, lie, or are not there."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Mapping

import pytest

from agent.firewall import managers, ufw
from agent.firewall.managers import Zone, Zones
from agent.firewall.model import Ban, FirewallManagers, UfwStatus
from agent.system.commands import CommandResult

GOLDENS = Path(__file__).parent / "goldens"
CLIENT = ipaddress.ip_address("203.0.113.2")
MISSING = CommandResult(None, "there is none", missing=True)
HANGS = CommandResult(None, "it did not answer in 5 s")


def golden(name: str) -> str:
    return (GOLDENS / f"{name}.txt").read_text(encoding="utf-8")


def answer(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str | CommandResult]) -> None:
    """What the tools say to a command line; all others are not there."""

    def run_tool(*command: str) -> CommandResult:
        said = answers.get(" ".join(command), MISSING)
        return CommandResult(said) if isinstance(said, str) else said

    for module in (ufw, managers):
        monkeypatch.setattr(module, "run_tool", run_tool)


def test_ufw_that_is_not_active() -> None:
    assert ufw.parse_status(golden("ufw-inactive")) is None


def test_ufw_without_rules() -> None:
    assert ufw.parse_status(golden("ufw-empty")) == ()


def test_ufws_rules_as_it_prints_them() -> None:
    rules = ufw.parse_status(golden("ufw-rules"))
    assert rules is not None
    assert len(rules) == 15
    assert rules[0] == "22/tcp                     ALLOW IN    Anywhere"
    assert rules[4].endswith("# web ][")
    assert rules[10] == "80/tcp (v6) on lo          ALLOW IN    Anywhere (v6)"


@pytest.mark.parametrize("text", ["", "Status: aktiv\n", "Status: \n", "ERROR: problem\n"])
def test_ufw_that_says_neither(text: str) -> None:
    with pytest.raises(ValueError, match="does not say"):
        ufw.parse_status(text)


def test_ufw_without_end() -> None:
    text = "Status: active\n" + "[ 1] 22/tcp ALLOW IN Anywhere\n" * 50_000
    assert len(ufw.parse_status(text) or ()) == ufw.MAX_RULES


@pytest.mark.parametrize(
    ("rules", "defaults", "both"),
    [
        ((), "IPV6=yes\n", True),
        ((), '# IPV6=yes\n IPV6="Yes"\n', True),
        ((), "# IPV6=yes\nIPV6=no\n", False),
        (("22/tcp (v6) ALLOW IN Anywhere (v6)",), "", True),
        (("22/tcp ALLOW IN Anywhere",), "", False),
    ],
)
def test_whether_ufw_rules_ipv6(rules: tuple[str, ...], defaults: str, both: bool) -> None:
    assert ufw.filters_ipv6(rules, defaults) is both


def test_ufw_as_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    defaults = tmp_path / "ufw"
    for told, found in (
        (golden("ufw-empty"), (UfwStatus((), False), "")),
        (golden("ufw-inactive"), (None, "")),
        ("Status: ?\n", (None, "ufw does not say whether it is active")),
        (MISSING, (None, "")),
        (HANGS, (None, HANGS.error)),
    ):
        answer(monkeypatch, {"ufw status numbered": told})
        assert ufw.read_ufw(str(defaults)) == found
    answer(monkeypatch, {"ufw status numbered": golden("ufw-empty")})
    defaults.write_text("IPV6=yes\n", encoding="ascii")
    assert ufw.read_ufw(str(defaults)) == (UfwStatus((), True), "")


TRUSTED = Zone("trusted", sources=("198.51.100.0/24",))


def test_the_zones_in_force() -> None:
    assert managers.parse_active(golden("firewalld-active")) == ("dmz", "public", "trusted")
    assert managers.parse_active("public (default)\n  interfaces: eth0\n\n") == ("public",)


def test_a_zone_of_firewalld() -> None:
    assert managers.parse_zone("public", golden("firewalld-public")) == Zone("public", ("eth0",))
    assert managers.parse_zone("trusted", golden("firewalld-trusted")) == TRUSTED


@pytest.mark.parametrize(
    ("client", "interface", "zone"),
    [
        ("198.51.100.7", "eth0", "trusted"),  # a source comes before an interface
        ("203.0.113.2", "eth0", "public"),
        ("2001:db8::1", "eth0", "public"),
        ("203.0.113.2", "eth9", "home"),
        ("203.0.113.2", None, "home"),
    ],
)
def test_the_zone_of_a_client(client: str, interface: str | None, zone: str) -> None:
    zones = Zone("public", ("eth0",), ("00:11:22:33:44:55", "ipset:friends")), TRUSTED
    found = Zones(zones, "home", "it hung")
    assert managers.zone_of(found, ipaddress.ip_address(client), interface) == (
        zone,
        "it hung" if zone == "home" else "",
    )


def test_firewalld_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, str | CommandResult] = {
        "firewall-cmd --get-active-zones": golden("firewalld-active"),
        "firewall-cmd --get-default-zone": "home\n",
        **{f"firewall-cmd --list-all --zone={one}": golden(f"firewalld-{one}") for one in ("dmz", "public", "trusted")},
    }
    answer(monkeypatch, answers)
    found, trouble = managers.read_firewalld()
    assert ([one.name for one in found.zones], found.default, found.no_default) == (
        ["dmz", "public", "trusted"],
        "home",
        "",
    )
    assert trouble == ""
    assert managers.zone_of(found, CLIENT, "eth1") == ("dmz", "")
    answer(monkeypatch, {**answers, "firewall-cmd --list-all --zone=dmz": HANGS})
    assert managers.read_firewalld() == (Zones(), HANGS.error)
    answer(monkeypatch, {**answers, "firewall-cmd --get-default-zone": HANGS})
    assert managers.read_firewalld() == (Zones(found.zones, None, HANGS.error), "")


def test_more_zones_than_anybody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"z{number}" for number in range(1000)]
    listed = {f"firewall-cmd --list-all --zone={one}": f"{one}\n" for one in names[: managers.MAX_ZONES]}
    others = {"firewall-cmd --get-active-zones": "\n".join(names), "firewall-cmd --get-default-zone": "z0\n"}
    answer(monkeypatch, {**listed, **others})
    found, _ = managers.read_firewalld()
    assert (len(found.zones), found.default) == (managers.MAX_ZONES, "z0")


@pytest.mark.parametrize(
    ("told", "trouble"),
    [
        (MISSING, ""),
        (CommandResult(None, "firewall-cmd failed: FirewallD is not running"), ""),
        (
            CommandResult(
                None, "firewall-cmd failed: Error: DBUS_ERROR: Failed to connect to socket /run/dbus/x: No such file"
            ),
            "",
        ),
        (HANGS, HANGS.error),
    ],
)
def test_firewalld_that_says_nothing(told: CommandResult, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"firewall-cmd --get-active-zones": told})
    assert managers.read_firewalld() == (Zones(), trouble)


def test_the_bans_of_one_address_alone() -> None:
    assert managers.parse_jails(golden("fail2ban-status")) == ("portscan", "sshd")
    bans = list(managers.parse_bans("sshd", golden("fail2ban-sshd"), CLIENT))
    assert bans == [Ban("sshd", "203.0.113.2")]
    other = ipaddress.ip_address("2001:db8:2::2")
    assert list(managers.parse_bans("sshd", golden("fail2ban-sshd"), other)) == []
    assert list(managers.parse_bans("p", golden("fail2ban-portscan"), other)) == [Ban("p", "2001:db8:2::2")]
    text = "   `- Banned IP list:\t203.0.113.0/24 no-address 203.0.113.0/99 198.51.100.2\n"
    assert list(managers.parse_bans("net", text, CLIENT)) == [Ban("net", "203.0.113.0/24")]
    assert list(managers.parse_bans("net", "", CLIENT)) == []


def test_fail2ban_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, str | CommandResult] = {
        "fail2ban-client status": golden("fail2ban-status"),
        "fail2ban-client status portscan": golden("fail2ban-portscan"),
        "fail2ban-client status sshd": golden("fail2ban-sshd"),
    }
    answer(monkeypatch, answers)
    jails, trouble = managers.read_jails()
    assert trouble == ""
    assert tuple(ban for jail, text in jails for ban in managers.parse_bans(jail, text, CLIENT)) == (
        Ban("portscan", "203.0.113.2"),
        Ban("sshd", "203.0.113.2"),
    )
    answer(monkeypatch, {**answers, "fail2ban-client status sshd": HANGS})
    assert managers.read_jails() == (jails[:1], HANGS.error)
    many = ", ".join(f"j{number}" for number in range(100))
    empty = {f"fail2ban-client status j{number}": "" for number in range(managers.MAX_JAILS)}
    answer(monkeypatch, {"fail2ban-client status": f"`- Jail list:\t{many}\n", **empty})
    assert len(managers.read_jails()[0]) == managers.MAX_JAILS


@pytest.mark.parametrize(
    ("told", "trouble"),
    [
        (MISSING, ""),
        (
            CommandResult(None, "fail2ban-client failed: ERROR Failed to access socket path: /x. Is fail2ban running?"),
            "",
        ),
        (HANGS, HANGS.error),
    ],
)
def test_fail2ban_that_says_nothing(told: CommandResult, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"fail2ban-client status": told})
    assert managers.read_jails() == ((), trouble)


@pytest.mark.parametrize(
    ("paths", "commands"),
    [
        ((), ()),
        (("usr/share/netfilter-persistent/plugins.d/15-ip4tables",), ("netfilter-persistent save",) * 2),
        (("etc/sysconfig/iptables",), ("service iptables save", "service ip6tables save")),
    ],
)
def test_what_keeps_the_rules(paths: tuple[str, ...], commands: tuple[str, ...], tmp_path: Path) -> None:
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert managers.find_save_commands(str(tmp_path)) == commands


def test_all_that_manages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managers, "find_save_commands", lambda: ())
    answer(monkeypatch, {"ufw status numbered": golden("ufw-rules"), "fail2ban-client status": HANGS,
                         "firewall-cmd --get-active-zones": HANGS})  # fmt: skip
    found, unread = managers.managers_for_client(CLIENT, "eth0", managers.read_managers())
    assert found.ufw is not None
    assert (found.zone, found.bans) == (None, ())
    assert unread == (
        "firewalld could not be read: it did not answer in 5 s.",
        "fail2ban could not be read: it did not answer in 5 s.",
    )
    answer(monkeypatch, {"fail2ban-client status": HANGS})
    assert managers.managers_for_client(CLIENT, None, managers.read_managers()) == (FirewallManagers(), unread[1:])
    zones = Zones((), None, HANGS.error)
    read = managers.ManagerReadings(None, zones, (("sshd", golden("fail2ban-sshd")),), (), ())
    assert managers.managers_for_client(CLIENT, "eth0", read) == (
        FirewallManagers(bans=(Ban("sshd", "203.0.113.2"),)),
        unread[:1],
    )
