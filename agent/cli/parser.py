"""Read the command line: every option of every command, and what its value may be."""

from __future__ import annotations

import argparse
import ipaddress
import re
from functools import partial
from typing import Any, NoReturn, Sequence

from .. import __version__
from ..core.address import Address, Family
from ..core.errors import UsageError
from ..core.plan import ADDONS, PLANS
from ..core.ports import HIGHEST, LOWEST, parse_ports

# Plans that are read from this machine's configuration.
INSTALLED, LIVEKIT = "installed", "livekit"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}  # seconds
# A day: longer than any check, short enough that nobody forgets ten thousand open ports for good.
_MAX_SECONDS = 24 * 3600
# More probes a second than any sweep sends, and more ports than there are: a larger number is a typing error.
_MAX_COUNT = 1_000_000


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line, `command` with its name; raise UsageError where it makes no sense.

    HOSTs may also stand behind options, where argparse does not look for them.
    """
    parser = _build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (arguments.command != "client" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.hosts += map(_host, rest)
    return arguments


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports errors as the rest of the program does.

    It takes no option by half its name: a later version may have another one that begins alike.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError("the command line is not understood", message, f"see `python3 {self.prog} --help`")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pnmcheck.pyz",
        description="Check from outside whether every port of a WebRTC server can be reached. "
        "Run `server` on the server, and meanwhile `client` on a computer outside its firewall.",
    )
    parser.add_argument("--version", action="version", version=f"pnmcheck {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    _add_server(commands)
    _add_client(commands)
    description = "Run both sides on this machine over loopback."
    selftest = commands.add_parser("selftest", help="test that this file works here", description=description)
    selftest.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _add_server(commands: Any) -> None:
    description = "Listen on every planned port, answer the client's probes, and show its report."
    server = commands.add_parser("server", help="run this on the server", description=description)
    add = server.add_argument
    add("--plan", metavar="PLAN", type=_plan, default="plugnmeet",
        help="which ports to check. plugnmeet (default): the documented ones; installed: those in the configuration of "
        "the plugNmeet on this machine; livekit:FILE: those in a LiveKit configuration file")  # fmt: skip
    add("--with", dest="addons", action="append", default=[], choices=sorted(ADDONS),
        help="also check the ports of an optional service; can be repeated")  # fmt: skip
    add("--tcp", metavar="PORTS", type=parse_ports,
        help="check these TCP ports instead of the plan's: 80,443,7881, or none")  # fmt: skip
    add("--udp", metavar="PORTS", type=parse_ports,
        help="check these UDP ports instead of the plan's: 50000-60000, or none")  # fmt: skip
    add("--bind", metavar="ADDR", type=_address, help="listen on this address only")
    add("--control", metavar="PORT", type=_port, help="TCP port of the control channel")
    add("--key", metavar="KEY", nargs="?", const="",
        help="accept only clients with this key; without a value: make one. PNMCHECK_KEY works too")  # fmt: skip
    add_either = server.add_mutually_exclusive_group().add_argument
    add_either("--live", action="store_true",
               help="leave services running; bind only free media ports, half of them at a time")  # fmt: skip
    add_either("--stop-services", action="store_true",
               help="stop the services that use the ports, run one check (within 10m), start them again")  # fmt: skip
    add("--once", action="store_true", help="stop after the first finished check")
    add("--for", dest="seconds", metavar="TIME", type=_seconds, help="how long to run: 90s, 10m, 1h (default)")
    add("--offline", action="store_true", help="send nothing to LiveKit's STUN servers or to DNS servers")
    add("--yes", action="store_true", help="do not ask before stopping services")
    add("--restore", action="store_true", help="start the services that an earlier run left stopped, then exit")
    add("--guardian", action="store_true", help=argparse.SUPPRESS)  # services starts it
    add("--json", action="store_true", help="print one JSON object per line to stdout")


def _add_client(commands: Any) -> None:
    description = "Check every planned port of a server and report what blocks it."
    text = "run this on a computer outside the server's firewall"
    client = commands.add_parser("client", help=text, description=description)
    add = client.add_argument
    add("hosts", metavar="HOST", nargs="+", type=_host, help="name or address of the server; up to 8 names")
    add("--control", metavar="PORT", type=_port, help="the server's --control port")
    add("--key", metavar="KEY", help="the server's key; PNMCHECK_KEY works too")
    add_either = client.add_mutually_exclusive_group().add_argument
    add_either("-4", dest="family", action="store_const", const=Family.IPV4, help="use IPv4 only")
    add_either("-6", dest="family", action="store_const", const=Family.IPV6, help="use IPv6 only")
    add("--rate", metavar="N", type=partial(_count, "--rate", 2000), help="send at most N UDP probes per second")
    add("--sample", metavar="N", type=partial(_count, "--sample", 300),
        help="of each range of UDP ports, check only N random ones and both ends")  # fmt: skip
    add("--json", action="store_true", help="print the report as JSON")


def _plan(text: str) -> str:
    name, _, file = text.partition(":")
    if text not in (*PLANS, INSTALLED) and not (name == LIVEKIT and file):
        names = ", ".join((*sorted(PLANS), INSTALLED, f"{LIVEKIT}:FILE"))
        raise UsageError(f"--plan {text}", "there is no such plan", f"choose one of {names}")
    return text


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--bind {text}", "this is not an IP address", "give an address of this machine") from None


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not LOWEST <= int(text) <= HIGHEST:
        raise UsageError(f"--control {text}", f"this is not a port from {LOWEST} to {HIGHEST}")
    return int(text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([smh]?)", text)
    seconds = int(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not 0 < seconds <= _MAX_SECONDS:
        raise UsageError(f"--for {text}", "this is not a time from 1s to 24h", "write 90s, 10m or 1h")
    return float(seconds)


def _count(option: str, example: int, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= _MAX_COUNT:
        why = f"this is not a whole number from 1 to {_MAX_COUNT:,}"
        raise UsageError(f"{option} {text}", why, f"write {option} {example}")
    return int(text)


def _host(text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or len(host) > 255 or not re.fullmatch(r"[\w.:%-]+", host):
        hint = "give only the server's name or IP address, without https:// and without a port"
        raise UsageError(f"HOST '{text}'", "this is neither a name nor an address", hint)
    if host.count(":") == 1:  # an IPv6 address has more
        name = host.partition(":")[0]
        raise UsageError(f"HOST '{text}'", "this contains a port", f"give only {name}; --control sets the port")
    try:
        host.encode("idna")
    except UnicodeError:
        raise UsageError(f"HOST '{text}'", "this cannot be a name in the DNS", "check the spelling") from None
    return host
