from __future__ import annotations

import json
import shlex

import pytest

from agent.core.address import Family
from agent.core.plan import Transport
from agent.core.ports import PortRange, parse_ports
from agent.firewall.fixes import Fix
from agent.firewall.provider_fixes import PROVIDERS, answers_advice, provider_fix, provider_of

# Limits, by their numbers: who changes one changes it here too.
MAX_SENTENCE = 2000
MAX_RULES = 40

TCP, UDP = Transport.TCP, Transport.UDP
WANTED = {TCP: parse_ports("443"), UDP: parse_ports("443,50000-60000")}
MEDIA = {TCP: (), UDP: parse_ports("50000-60000")}
CONSOLES = ("akamai", "scaleway", "upcloud", "alibaba")
KEYS = tuple(PROVIDERS)

MACHINES = [
    ("aws", {"sys_vendor": "Amazon EC2", "product_name": "t3.small", "board_vendor": "Amazon EC2"}),
    ("aws", {"sys_vendor": "Xen", "product_name": "HVM domU", "product_version": "4.11.amazon",
             "bios_vendor": "Xen", "bios_version": "4.11.amazon"}),
    ("aws", {"sys_vendor": "Xen", "bios_version": "4.2.amazon"}),
    ("aws", {"bios_vendor": "Amazon EC2"}),
    ("google", {"sys_vendor": "Google", "product_name": "Google Compute Engine"}),
    ("azure", {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine",
               "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"}),
    ("digitalocean", {"sys_vendor": "DigitalOcean", "product_name": "Droplet"}),
    ("hetzner", {"sys_vendor": "Hetzner", "product_name": "vServer"}),
    ("oracle", {"sys_vendor": "QEMU", "chassis_asset_tag": "OracleCloud.com"}),
    ("openstack", {"sys_vendor": "OpenStack Foundation", "product_name": "OpenStack Nova"}),
    ("openstack", {"sys_vendor": "RDO", "product_name": "OpenStack Compute"}),
    ("vultr", {"sys_vendor": "Vultr", "product_name": "VC2"}),
    ("akamai", {"sys_vendor": "Linode", "product_name": "Compute Instance"}),
    ("akamai", {"sys_vendor": "Akamai", "product_name": "Compute Instance"}),
    ("scaleway", {"sys_vendor": "Scaleway", "product_name": "SCW-DEV1-S"}),
    ("upcloud", {"sys_vendor": "UpCloud", "product_name": "Server"}),
    ("exoscale", {"sys_vendor": "Exoscale", "product_name": "Exoscale Compute Platform"}),
    ("alibaba", {"sys_vendor": "Alibaba Cloud", "product_name": "Alibaba Cloud ECS"}),
    (None, {}),
    (None, {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine", "chassis_asset_tag": "None"}),
    (None, {"sys_vendor": "Xen", "product_version": "4.17"}),
    (None, {"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)"}),
    (None, {"sys_vendor": "Oracle Corporation", "product_name": "VirtualBox", "chassis_asset_tag": ""}),
    (None, {"sys_vendor": "Hetzner", "product_name": "Dedicated"}),
    (None, {"sys_vendor": "Dell Inc.", "product_name": "PowerEdge", "bios_version": "2.amazon"}),
    (None, {"sys_vendor": "Google", "product_name": "Chromebook"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "commands"),
    [
        ("aws", (
            "aws ec2 authorize-security-group-ingress --group-id SG --ip-permissions "
            "'IpProtocol=udp,FromPort=50000,ToPort=60000,IpRanges=[{CidrIp=0.0.0.0/0}]'",
            "aws ec2 authorize-security-group-ingress --group-id SG --ip-permissions "
            "'IpProtocol=udp,FromPort=50000,ToPort=60000,Ipv6Ranges=[{CidrIpv6=::/0}]'")),
        ("google", (
            "gcloud compute firewall-rules create pnmcheck-ipv4 --network=NETWORK --direction=INGRESS "
            "--allow=udp:50000-60000 --source-ranges=0.0.0.0/0",
            "gcloud compute firewall-rules create pnmcheck-ipv6 --network=NETWORK --direction=INGRESS "
            "--allow=udp:50000-60000 --source-ranges=::/0")),
        ("azure", (
            "az network nsg rule create -g RG --nsg-name NSG -n pnmcheck-udp --priority 311 --direction Inbound "
            "--access Allow --protocol Udp --destination-port-ranges 50000-60000",)),
        ("digitalocean", (
            'doctl compute firewall add-rules ID --inbound-rules '
            '"protocol:udp,ports:50000-60000,address:0.0.0.0/0,address:::/0"',)),
        ("hetzner", (
            "hcloud firewall add-rule --direction in --protocol udp --port 50000-60000 --source-ips 0.0.0.0/0 "
            "--source-ips ::/0 FW",)),
        ("openstack", (
            "openstack security group rule create --ingress --ethertype IPv4 --protocol udp "
            "--dst-port 50000:60000 GROUP",
            "openstack security group rule create --ingress --ethertype IPv6 --protocol udp "
            "--dst-port 50000:60000 GROUP")),
        ("vultr", (
            "vultr-cli firewall rule create --id GROUP --ip-type v4 --protocol udp --size 0 --subnet 0.0.0.0 "
            "--port 50000:60000",
            "vultr-cli firewall rule create --id GROUP --ip-type v6 --protocol udp --size 0 --subnet :: "
            "--port 50000:60000")),
        ("exoscale", (
            "exo compute security-group rule add GROUP --flow ingress --protocol udp --port 50000-60000 "
            "--network 0.0.0.0/0",
            "exo compute security-group rule add GROUP --flow ingress --protocol udp --port 50000-60000 "
            "--network ::/0")),
    ],
)  # fmt: skip
def test_the_commands_of_a_provider(provider: str, commands: tuple[str, ...]) -> None:
    found = provider_fix(provider, MEDIA, set(Family))
    assert found.commands == commands
    assert len(found.sentences) == 1


def test_oracles_rules_are_json_that_a_shell_hands_on_whole() -> None:
    ipv4, ipv6 = provider_fix("oracle", WANTED, set(Family)).commands
    tcp, *udp = json.loads(shlex.split(ipv4)[-1])
    assert [one["udpOptions"]["destinationPortRange"] for one in udp] == [
        {"min": 443, "max": 443}, {"min": 50000, "max": 60000}
    ]  # fmt: skip
    assert {(one["direction"], one["protocol"], one["source"]) for one in udp} == {("INGRESS", "17", "0.0.0.0/0")}
    assert (tcp["protocol"], tcp["tcpOptions"]["destinationPortRange"]["min"]) == ("6", 443)
    assert {one["source"] for one in json.loads(shlex.split(ipv6)[-1])} == {"::/0"}


@pytest.mark.parametrize("provider", KEYS)
def test_the_commands_for_many_ports_are_short_enough_to_be_shown(provider: str) -> None:
    many = {UDP: tuple(PortRange(port, port + 1) for port in range(50000, 50000 + 3 * MAX_RULES, 3))}
    found = provider_fix(provider, many, set(Family))
    assert all(len(line) < MAX_SENTENCE for line in found.commands)
    assert all(any(str(port) in line for line in found.commands) for port in (50000, 50118) if found.commands)


def test_ports_are_merged() -> None:
    assert "--allow=tcp:443,udp:443,udp:50000-60000 " in provider_fix("google", WANTED, [Family.IPV4]).commands[0]
    assert provider_fix("aws", WANTED, [Family.IPV4]).commands[0].count("IpProtocol=") == 3
    assert [line.split("-ranges ")[1] for line in provider_fix("azure", WANTED, set(Family)).commands] == [
        "443", "443 50000-60000"
    ]  # fmt: skip


@pytest.mark.parametrize("provider", KEYS)
def test_every_provider_that_is_recognised_has_its_way(provider: str) -> None:
    for wanted in (MEDIA, WANTED):
        found = provider_fix(provider, wanted, set(Family))
        assert bool(found.commands) == (provider not in CONSOLES)
        if provider in CONSOLES:
            assert "50000-60000/udp" in found.sentences[0]
        assert not any(word in line for line in found.commands for word in ("update", "delete", "replace"))
        assert all("50000" in line or "443" in line for line in found.commands)


@pytest.mark.parametrize("provider", [None, "somebody"])
def test_a_provider_that_nobody_knows(provider: str | None) -> None:
    found = provider_fix(provider, WANTED, set(Family))
    assert found.commands == ()
    assert "443/tcp and 443, 50000-60000/udp in the provider's firewall" in found.sentences[0]


def test_nothing_to_open() -> None:
    assert provider_fix("aws", {TCP: (), UDP: ()}, set(Family)) == Fix()


def test_more_rules_than_an_account_has_room_for() -> None:
    many = {UDP: tuple(PortRange(port, port) for port in range(1, 2 * MAX_RULES + 3, 2))}
    found = provider_fix("hetzner", many, set(Family))
    assert found.commands == ()
    assert "in Hetzner Cloud's console" in found.sentences[0]


def test_where_answers_are_stopped() -> None:
    assert "stateless filters" in answers_advice(None)
    assert "network ACLs" in answers_advice("aws")


@pytest.mark.parametrize(("key", "fields"), MACHINES)
def test_the_provider_of_a_machine(key: str | None, fields: dict[str, str]) -> None:
    assert provider_of(fields) == key


def test_every_provider_is_recognised_by_some_machine() -> None:
    assert {key for key, _ in MACHINES} == {None, *PROVIDERS}
