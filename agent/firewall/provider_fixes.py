"""Recognise the provider whose cloud this server runs in, and say how to open ports in the provider's own firewall.

By a command with placeholders in capitals, or in the provider's console. A command that replaces existing rules is
never printed: where a provider's tool has no other, or none that was seen to be safe, the console's way stands instead.
No metadata address is ever asked: that would be a packet to somebody, and another's answer could not be told apart.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Callable, Collection, Iterator, Mapping, NamedTuple, Sequence, Tuple

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange, list_ports
from .fixes import Fix

# A rule of a provider is a run of ports, and accounts have room for some 50 to 100 rules; past that somebody has to
# think, not to paste.
MAX_RULES = 40

# A command stays below 2,000 characters, as Oracle's do with so many.
PER_COMMAND = 8

_FAMILY_WORDS = {Family.IPV4: {"any": "0.0.0.0", "version": "v4", "v6": ""},
                 Family.IPV6: {"any": "::", "version": "v6", "v6": "v6"}}  # fmt: skip
_NUMBERS = {Transport.TCP: 6, Transport.UDP: 17}  # IANA's protocol numbers

Fields = Mapping[str, str]  # of the firmware, by name (DMI)
_Ports = Sequence[Tuple[Transport, PortRange]]
_Commands = Callable[[_Ports, Sequence[Family]], Iterator[str]]


class Provider(NamedTuple):
    """Its name; how its machines are recognised; its command, if any; and what one has to know to use it.

    A machine is the provider's where all fields of any of the `marks` match, by shell patterns, in small or capital
    letters. Where there is no command, `caveat` is the way in the console, in which PORTS stands for them. `answers` is
    where it may drop the server's answers.
    """

    name: str
    marks: Sequence[Fields]
    commands: _Commands | None
    caveat: str
    answers: str = ""


def provider_of(fields: Fields) -> str | None:
    """Return the provider's key, by the texts of the DMI files; None for a machine of one's own."""

    def has(mark: Fields) -> bool:
        return all(fnmatchcase(fields.get(name, "").lower(), pattern.lower()) for name, pattern in mark.items())

    return next((key for key, provider in PROVIDERS.items() if any(map(has, provider.marks))), None)


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


def _template(command: str, rule: str, most: int = 1, joint: str = " ", source: str = "") -> _Commands:
    """Return what makes a provider's commands, each for so many runs of ports, whose rules are joined.

    They are of one family each; where there is a template of a `source`, of all, whose sources are in the rules.
    """

    def commands(ports: _Ports, families: Sequence[Family]) -> Iterator[str]:
        sources = "".join(source % _FAMILY_WORDS[family] for family in families)
        for family in families[:1] if source else families:
            words = {**_FAMILY_WORDS[family], "sources": sources}
            for at in range(0, len(ports), most):
                rules = (rule % {**words, "transport": transport.value, "number": _NUMBERS[transport], "run": run,
                                 "first": run.first, "last": run.last}
                         for transport, run in ports[at : at + most])  # fmt: skip
                yield command % {**words, "rules": joint.join(rules)}

    return commands


def _azure(ports: _Ports, families: Sequence[Family]) -> Iterator[str]:
    for priority, transport in enumerate(Transport, 310):
        listed = " ".join(str(run) for other, run in ports if other is transport)
        if listed:
            yield (f"az network nsg rule create -g RG --nsg-name NSG -n pnmcheck-{transport.value} "
                   f"--priority {priority} --direction Inbound --access Allow "
                   f"--protocol {transport.value.capitalize()} --destination-port-ranges {listed}")  # fmt: skip


# The first that recognises the machine decides. Microsoft's and Oracle's names are on machines and hypervisors that
# anybody may own: only their clouds' tags say where those run. The makers of the rest put a name on nothing but their
# cloud's machines. A provider is added here.
PROVIDERS: dict[str, Provider] = {
    "oracle": Provider("Oracle Cloud", [{"chassis_asset_tag": "OracleCloud.com"}], _template(
        "oci network nsg rules add --nsg-id OCID --security-rules '[%(rules)s]'",
        '{"direction":"INGRESS","protocol":"%(number)s","source":"%(any)s/0","sourceType":"CIDR_BLOCK",'
        '"%(transport)sOptions":{"destinationPortRange":{"min":%(first)s,"max":%(last)s}}}', PER_COMMAND, ","),
        "The group must be attached to the server's network card; Oracle's images block these ports once more, by "
        "iptables on the server itself."),
    "azure": Provider("Azure", [{"chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"}], _azure,
        "The groups of the network card and of its subnet must both allow this, with a lower number than any rule that "
        "denies it; take another priority where 310 or 311 is taken."),
    "aws": Provider("AWS", [  # older machines are Xen's, of a version such as `4.11.amazon`
        {"sys_vendor": "Amazon EC2"}, {"bios_vendor": "Amazon EC2"}, {"board_vendor": "Amazon EC2"},
        {"sys_vendor": "Xen", "bios_version": "*amazon*"}, {"sys_vendor": "Xen", "product_version": "*amazon*"},
    ], _template(  # of one family each: AWS refuses all of a command where one of its rules is there already
        "aws ec2 authorize-security-group-ingress --group-id SG --ip-permissions %(rules)s",
        "'IpProtocol=%(transport)s,FromPort=%(first)s,ToPort=%(last)s,Ip%(v6)sRanges=[{CidrIp%(v6)s=%(any)s/0}]'",
        PER_COMMAND),
        "The subnet's network ACL is another firewall, a stateless one: it must let these ports in, and answers out.",
        " AWS's network ACLs are stateless: they must let UDP and TCP out to ports 1024-65535."),
    "google": Provider("Google Cloud", [{"product_name": "Google Compute Engine"}], _template(
        "gcloud compute firewall-rules create pnmcheck-ip%(version)s --network=NETWORK --direction=INGRESS "
        "--allow=%(rules)s --source-ranges=%(any)s/0", "%(transport)s:%(run)s", MAX_RULES, ","),
        "Google Cloud blocks what no rule allows, and IPv4 and IPv6 need a rule each; NETWORK is `default` unless you "
        "made another."),
    "digitalocean": Provider("DigitalOcean", [{"sys_vendor": "DigitalOcean"}], _template(
        'doctl compute firewall add-rules ID --inbound-rules "%(rules)s"',
        "protocol:%(transport)s,ports:%(run)s%(sources)s", PER_COMMAND, source=",address:%(any)s/0"),
        "DigitalOcean blocks nothing unless a firewall is attached: if none is, look for the cause elsewhere."),
    "hetzner": Provider("Hetzner Cloud", [{"sys_vendor": "Hetzner", "product_name": "vServer"}], _template(
        "hcloud firewall add-rule --direction in %(rules)s FW",
        "--protocol %(transport)s --port %(run)s%(sources)s", source=" --source-ips %(any)s/0"),
        "A firewall of Hetzner Cloud without rules drops everything; without a firewall nothing is blocked there."),
    "vultr": Provider("Vultr", [{"sys_vendor": "Vultr"}], _template(
        "vultr-cli firewall rule create --id GROUP --ip-type %(version)s %(rules)s",
        "--protocol %(transport)s --size 0 --subnet %(any)s --port %(first)s:%(last)s"),
        "Vultr blocks nothing unless a firewall group is attached; IPv4 and IPv6 need a rule each."),
    "akamai": Provider("Akamai", [{"sys_vendor": "Linode"}, {"sys_vendor": "Akamai"}], None,
        "In Akamai's (Linode's) Cloud Manager: Firewalls > the firewall > Rules > Add an Inbound Rule: PORTS, from all "
        "IPv4 and IPv6. Do not use its command line, which replaces every rule."),
    "scaleway": Provider("Scaleway", [{"sys_vendor": "Scaleway"}], None,
        "In Scaleway's console: Instances > Security groups > the group > Rules > add inbound rules: PORTS, from "
        "0.0.0.0/0 and ::/0. A stateless group must let answers out too.",
        " A stateless security group of Scaleway's needs a rule that lets answers out."),
    "upcloud": Provider("UpCloud", [{"sys_vendor": "UpCloud"}], None,
        "In UpCloud's control panel: Servers > the server > Firewall > add incoming rules: PORTS, for IPv4 and IPv6, "
        "above the rule that drops."),
    "exoscale": Provider("Exoscale", [{"sys_vendor": "Exoscale"}], _template(
        "exo compute security-group rule add GROUP --flow ingress %(rules)s",
        "--protocol %(transport)s --port %(run)s --network %(any)s/0"),
        "Exoscale blocks what no rule allows, and IPv4 and IPv6 need a rule each."),
    "alibaba": Provider("Alibaba Cloud", [{"product_name": "Alibaba Cloud*"}], None,
        "In Alibaba Cloud's console: ECS > Security Groups > the group > Inbound > Add Rule: PORTS, from 0.0.0.0/0 and "
        "::/0, with a better priority than what denies."),
    "openstack": Provider("OpenStack", [{"product_name": "OpenStack*"}], _template(
        "openstack security group rule create --ingress --ethertype IP%(version)s %(rules)s GROUP",
        "--protocol %(transport)s --dst-port %(first)s:%(last)s"),
        "At OVH everything is open by default, except in its edge firewall, set in the console, which is stateless, is "
        "for IPv4 alone and drops fragments of UDP packets.",
        " OVH's edge firewall is stateless: answers need a rule of their own."),
}  # fmt: skip
