"""What opens ports in a provider's own firewall: its command, with placeholders in capitals, or the way in its console.

A command that replaces the rules that are there is never printed; where a provider's tool has no other, or none that
was seen to be safe, the console's way stands in its place.
"""

from __future__ import annotations

from typing import Callable, Collection, Iterator, Mapping, Sequence

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange, list_ports
from .fixes import Fix

# A rule of a provider is a run of ports, and accounts have room for some 50 to 100 rules; past that somebody has to
# think, not to paste.
MAX_RULES = 40

# A command stays below 2,000 characters, as Oracle's do with so many.
PER_COMMAND = 8

Wanted = Mapping[Transport, Sequence[PortRange]]
_EVERYBODY = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_VERSION = {Family.IPV4: "v4", Family.IPV6: "v6"}


def cloud(provider: str | None, wanted: Wanted, families: Collection[Family]) -> Fix:
    """What opens these ports to everybody before the server."""
    ports = [(transport, run) for transport, runs in wanted.items() for run in runs]
    if not ports:
        return Fix()
    listed = " and ".join(list_ports(runs, transport.value) for transport, runs in wanted.items() if runs)
    make, name, trap = _CLOUDS.get(provider or "", (None, "", ""))
    if not name:
        return Fix((), (f"Open {listed} in the provider's firewall, or in the router before this server, "
                           "from anywhere.",))  # fmt: skip
    if make is None or len(ports) > MAX_RULES:
        console = trap if make is None else f"Open {listed} in {name}'s console. {trap}"
        return Fix((), (console.replace("PORTS", listed),))
    ordered = [family for family in Family if family in families]
    return Fix(tuple(make(ports, ordered)), (trap,))


_Ports = Sequence["tuple[Transport, PortRange]"]
_Families = Sequence[Family]


def _of(ports: _Ports, transport: Transport) -> list[PortRange]:
    return [run for one, run in ports if one is transport]


def _portions(ports: _Ports) -> Iterator[_Ports]:
    return (ports[at : at + PER_COMMAND] for at in range(0, len(ports), PER_COMMAND))


def _aws(ports: _Ports, families: _Families) -> Iterator[str]:
    """Commands of one family each: AWS refuses all of a command where one of its rules is there already."""
    for family in families:
        v6 = "v6" if family is Family.IPV6 else ""
        ranges = f"Ip{v6}Ranges=[{{CidrIp{v6}={_EVERYBODY[family]}}}]"
        for portion in _portions(ports):
            rules = " ".join(
                f"'IpProtocol={transport.value},FromPort={run.first},ToPort={run.last},{ranges}'"
                for transport, run in portion
            )
            yield f"aws ec2 authorize-security-group-ingress --group-id SG --ip-permissions {rules}"


def _google(ports: _Ports, families: _Families) -> Iterator[str]:
    allow = ",".join(f"{transport.value}:{run}" for transport, run in ports)
    for family in families:
        yield (f"gcloud compute firewall-rules create pnmcheck-ip{_VERSION[family]} --network=NETWORK "
               f"--direction=INGRESS --allow={allow} --source-ranges={_EVERYBODY[family]}")  # fmt: skip


def _azure(ports: _Ports, families: _Families) -> Iterator[str]:
    for priority, transport in enumerate(Transport, 310):
        runs = _of(ports, transport)
        if runs:
            listed = " ".join(map(str, runs))
            yield (f"az network nsg rule create -g RG --nsg-name NSG -n pnmcheck-{transport.value} "
                   f"--priority {priority} --direction Inbound --access Allow "
                   f"--protocol {transport.value.capitalize()} --destination-port-ranges {listed}")  # fmt: skip


def _digitalocean(ports: _Ports, families: _Families) -> Iterator[str]:
    sources = ",".join(f"address:{_EVERYBODY[family]}" for family in families)
    for portion in _portions(ports):
        rules = " ".join(f"protocol:{transport.value},ports:{run},{sources}" for transport, run in portion)
        yield f'doctl compute firewall add-rules ID --inbound-rules "{rules}"'


def _hetzner(ports: _Ports, families: _Families) -> Iterator[str]:
    sources = " ".join(f"--source-ips {_EVERYBODY[family]}" for family in families)
    for transport, run in ports:
        yield f"hcloud firewall add-rule --direction in --protocol {transport.value} --port {run} {sources} FW"


def _oracle(ports: _Ports, families: _Families) -> Iterator[str]:
    numbers = {Transport.TCP: 6, Transport.UDP: 17}  # IANA's protocol numbers
    for family in families:
        for portion in _portions(ports):
            rules = ",".join(
                f'{{"direction":"INGRESS","protocol":"{numbers[transport]}","source":"{_EVERYBODY[family]}",'
                f'"sourceType":"CIDR_BLOCK","{transport.value}Options":{{"destinationPortRange":'
                f'{{"min":{run.first},"max":{run.last}}}}}}}'
                for transport, run in portion
            )
            yield f"oci network nsg rules add --nsg-id OCID --security-rules '[{rules}]'"


def _openstack(ports: _Ports, families: _Families) -> Iterator[str]:
    for family in families:
        for transport, run in ports:
            yield (f"openstack security group rule create --ingress --ethertype IP{_VERSION[family]} --protocol "
                   f"{transport.value} --dst-port {run.first}:{run.last} GROUP")  # fmt: skip


def _vultr(ports: _Ports, families: _Families) -> Iterator[str]:
    for family in families:
        subnet = _EVERYBODY[family].partition("/")[0]
        for transport, run in ports:
            yield (f"vultr-cli firewall rule create --id GROUP --ip-type {_VERSION[family]} "
                   f"--protocol {transport.value} --size 0 --subnet {subnet} "
                   f"--port {run.first}:{run.last}")  # fmt: skip


def _exoscale(ports: _Ports, families: _Families) -> Iterator[str]:
    for family in families:
        for transport, run in ports:
            yield (f"exo compute security-group rule add GROUP --flow ingress --protocol {transport.value} "
                   f"--port {run} --network {_EVERYBODY[family]}")  # fmt: skip


_Make = Callable[[_Ports, _Families], Iterator[str]]
# Key: the command or None, the name, and the trap; where there is no command, the console's way with it.
_CLOUDS: dict[str, tuple[_Make | None, str, str]] = {
    "aws": (_aws, "AWS",
        "The subnet's network ACL is another firewall, without memory: it must let these ports in, and answers out."),
    "google": (_google, "Google Cloud",
        "Google denies what no rule allows, and IPv4 and IPv6 need a rule each; NETWORK is `default` unless you made "
        "another."),
    "azure": (_azure, "Azure",
        "The groups of the network card and of its subnet must both allow it, before any rule of a lower number that "
        "denies; take another priority where 310 or 311 is taken."),
    "digitalocean": (_digitalocean, "DigitalOcean",
        "DigitalOcean blocks nothing unless a firewall is attached: where none is, the fault is elsewhere."),
    "hetzner": (_hetzner, "Hetzner Cloud",
        "An attached firewall of Hetzner Cloud without rules drops all; without a firewall nothing is blocked there."),
    "oracle": (_oracle, "Oracle Cloud",
        "The group must be attached to the server's network card; Oracle's images block these ports once more, by "
        "iptables on the server itself."),
    "openstack": (_openstack, "OpenStack",
        "At OVH all is open by default, but its edge firewall, set in the console, has no memory, is for IPv4 alone "
        "and drops fragments of UDP packets."),
    "vultr": (_vultr, "Vultr",
        "Vultr blocks nothing unless a firewall group is attached; IPv4 and IPv6 need a rule each."),
    "exoscale": (_exoscale, "Exoscale",
        "Exoscale denies what no rule allows, and IPv4 and IPv6 need a rule each."),
    "akamai": (None, "Akamai",
        "In Akamai's (Linode's) Cloud Manager: Firewalls > the firewall > Rules > Add an Inbound Rule: PORTS, from all "
        "IPv4 and IPv6. Its command line replaces every rule: leave it."),
    "scaleway": (None, "Scaleway",
        "In Scaleway's console: Instances > Security groups > the group > Rules > add inbound rules: PORTS, from "
        "0.0.0.0/0 and ::/0. A stateless group has to let answers out."),
    "upcloud": (None, "UpCloud",
        "In UpCloud's control panel: Servers > the server > Firewall > add incoming rules: PORTS, for IPv4 and IPv6, "
        "above the rule that drops."),
    "alibaba": (None, "Alibaba Cloud",
        "In Alibaba Cloud's console: ECS > Security Groups > the group > Inbound > Add Rule: PORTS, from 0.0.0.0/0 and "
        "::/0, with a better priority than what denies."),
}  # fmt: skip


def egress(provider: str | None) -> str:
    """Where a provider may stop the server's answers."""
    more = {
        "aws": " AWS's network ACLs have no memory: they must let UDP and TCP out to ports 1024-65535.",
        "openstack": " OVH's edge firewall has no memory: answers need a rule of their own.",
        "scaleway": " A stateless security group of Scaleway's must let answers out by a rule of their own.",
    }
    return "The answers are stopped after they leave this server: look for rules about outgoing packets, and for " \
           f"filters without memory, in the provider's firewall.{more.get(provider or '', '')}"  # fmt: skip
