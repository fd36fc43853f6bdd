"""Recognise the provider whose cloud this server runs in, and say how to open ports in the provider's own firewall.

By a command with placeholders in capitals, or in the provider's console. A command that replaces existing rules is
never printed: where a provider's tool has no other, or none that was seen to be safe, the console's way stands instead.
No metadata address is ever asked: that would be a packet to somebody, and another's answer could not be told apart.
"""

from __future__ import annotations

from typing import Callable, Collection, Iterator, Mapping, NamedTuple, Sequence

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange, list_ports
from .fixes import Fix

# A rule of a provider is a run of ports, and accounts have room for some 50 to 100 rules; past that somebody has to
# think, not to paste.
MAX_RULES = 40

# A command stays below 2,000 characters, as Oracle's do with so many.
PER_COMMAND = 8

_EVERYBODY = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_VERSION = {Family.IPV4: "v4", Family.IPV6: "v6"}

Fields = Mapping[str, str]  # of the firmware, by name (DMI)
_Ports = Sequence["tuple[Transport, PortRange]"]
_Families = Sequence[Family]


class Provider(NamedTuple):
    """Its name; how its machines are recognised; its command, if any; and what one has to know to use it.

    Where there is no command, `caveat` is the way in the console, in which PORTS stands for them. `answers` is where it
    may drop the server's answers.
    """

    name: str
    recognises: Callable[[Fields], bool]
    commands: Callable[[_Ports, _Families], Iterator[str]] | None
    caveat: str
    answers: str = ""


def provider_of(fields: Fields) -> str | None:
    """Return the provider's key, by the texts of the DMI files; None for a machine of one's own."""
    return next((key for key, provider in PROVIDERS.items() if provider.recognises(fields)), None)


def provider_fix(key: str | None, wanted: Mapping[Transport, Sequence[PortRange]], families: Collection[Family]) -> Fix:
    """Return what opens these ports to everybody before the server."""
    ports = [(transport, run) for transport, runs in wanted.items() for run in runs]
    if not ports:
        return Fix()
    listed = " and ".join(list_ports(runs, transport.value) for transport, runs in wanted.items() if runs)
    provider = PROVIDERS.get(key or "")
    if provider is None:
        where = "in the provider's firewall, or in the router before this server, from anywhere"
        return Fix((), (f"Open {listed} {where}.",))
    if provider.commands is None:
        return Fix((), (provider.caveat.replace("PORTS", listed),))
    if len(ports) > MAX_RULES:
        return Fix((), (f"Open {listed} in {provider.name}'s console. {provider.caveat}",))
    ordered = [family for family in Family if family in families]
    return Fix(tuple(provider.commands(ports, ordered)), (provider.caveat,))


def answers_advice(key: str | None) -> str:
    """Return where a provider may drop the server's answers."""
    provider = PROVIDERS.get(key or "")
    return ("The answers are dropped after they leave this server: look in the provider's firewall for rules about "
            f"outgoing packets, and for stateless filters.{provider.answers if provider else ''}")  # fmt: skip


def _of(ports: _Ports, transport: Transport) -> list[PortRange]:
    return [run for other, run in ports if other is transport]


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


def _is(field: str, *values: str) -> Callable[[Fields], bool]:
    return lambda fields: fields.get(field, "").lower() in [value.lower() for value in values]


def _begins(field: str, value: str) -> Callable[[Fields], bool]:
    return lambda fields: fields.get(field, "").startswith(value)


def _is_aws(fields: Fields) -> bool:
    """Newer machines say `Amazon EC2`; older ones are Xen's, of a version such as `4.11.amazon`."""
    vendors = ("sys_vendor", "bios_vendor", "board_vendor")
    versions = ("bios_version", "product_version")
    return any(fields.get(vendor) == "Amazon EC2" for vendor in vendors) or (
        fields.get("sys_vendor") == "Xen" and any("amazon" in fields.get(version, "") for version in versions)
    )


def _is_hetzner(fields: Fields) -> bool:
    return fields.get("sys_vendor") == "Hetzner" and fields.get("product_name") == "vServer"


# The first that recognises the machine decides. Microsoft's and Oracle's names are on machines and hypervisors that
# anybody may own: only their clouds' tags say where those run. The makers of the rest put a name on nothing but their
# cloud's machines. A provider is added here.
PROVIDERS: dict[str, Provider] = {
    "oracle": Provider("Oracle Cloud", _is("chassis_asset_tag", "OracleCloud.com"), _oracle,
        "The group must be attached to the server's network card; Oracle's images block these ports once more, by "
        "iptables on the server itself."),
    "azure": Provider("Azure", _is("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"), _azure,
        "The groups of the network card and of its subnet must both allow this, with a lower number than any rule that "
        "denies it; take another priority where 310 or 311 is taken."),
    "aws": Provider("AWS", _is_aws, _aws,
        "The subnet's network ACL is another firewall, a stateless one: it must let these ports in, and answers out.",
        " AWS's network ACLs are stateless: they must let UDP and TCP out to ports 1024-65535."),
    "google": Provider("Google Cloud", _is("product_name", "Google Compute Engine"), _google,
        "Google Cloud blocks what no rule allows, and IPv4 and IPv6 need a rule each; NETWORK is `default` unless you "
        "made another."),
    "digitalocean": Provider("DigitalOcean", _is("sys_vendor", "DigitalOcean"), _digitalocean,
        "DigitalOcean blocks nothing unless a firewall is attached: if none is, look for the cause elsewhere."),
    "hetzner": Provider("Hetzner Cloud", _is_hetzner, _hetzner,
        "A firewall of Hetzner Cloud without rules drops everything; without a firewall nothing is blocked there."),
    "vultr": Provider("Vultr", _is("sys_vendor", "Vultr"), _vultr,
        "Vultr blocks nothing unless a firewall group is attached; IPv4 and IPv6 need a rule each."),
    "akamai": Provider("Akamai", _is("sys_vendor", "Linode", "Akamai"), None,
        "In Akamai's (Linode's) Cloud Manager: Firewalls > the firewall > Rules > Add an Inbound Rule: PORTS, from all "
        "IPv4 and IPv6. Do not use its command line, which replaces every rule."),
    "scaleway": Provider("Scaleway", _is("sys_vendor", "Scaleway"), None,
        "In Scaleway's console: Instances > Security groups > the group > Rules > add inbound rules: PORTS, from "
        "0.0.0.0/0 and ::/0. A stateless group must let answers out too.",
        " A stateless security group of Scaleway's needs a rule that lets answers out."),
    "upcloud": Provider("UpCloud", _is("sys_vendor", "UpCloud"), None,
        "In UpCloud's control panel: Servers > the server > Firewall > add incoming rules: PORTS, for IPv4 and IPv6, "
        "above the rule that drops."),
    "exoscale": Provider("Exoscale", _is("sys_vendor", "Exoscale"), _exoscale,
        "Exoscale blocks what no rule allows, and IPv4 and IPv6 need a rule each."),
    "alibaba": Provider("Alibaba Cloud", _begins("product_name", "Alibaba Cloud"), None,
        "In Alibaba Cloud's console: ECS > Security Groups > the group > Inbound > Add Rule: PORTS, from 0.0.0.0/0 and "
        "::/0, with a better priority than what denies."),
    "openstack": Provider("OpenStack", _begins("product_name", "OpenStack"), _openstack,
        "At OVH everything is open by default, except in its edge firewall, set in the console, which is stateless, is "
        "for IPv4 alone and drops fragments of UDP packets.",
        " OVH's edge firewall is stateless: answers need a rule of their own."),
}  # fmt: skip
