"""Read the rules of this host's firewall by its tools. Nothing is changed by that, and no kernel module is loaded."""

from __future__ import annotations

from functools import partial
from typing import Callable, Iterable

from ..core.address import Family
from ..system.commands import run_tool
from ..system.files import read_text
from ..system.interfaces import read_interfaces
from . import iptables, nftables
from .model import Ruleset, Table, Tool, UnreadableRules

_COMMANDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_NFT_NAMES = {Family.IPV4: "ip", Family.IPV6: "ip6"}
# The legacy variant's tables that are in use. Its tools are asked only then: else they would make them.
_LEGACY = {Family.IPV4: "/proc/net/ip_tables_names", Family.IPV6: "/proc/net/ip6_tables_names"}
MAX_NAMES = 100  # characters of them: whether there is one says all
MAX_INTERFACE = 15  # characters of its name: IFNAMSIZ without its end
_IPTABLES_TABLES = frozenset(("filter", "mangle", "nat", "raw", "security"))


def read_ruleset() -> tuple[Ruleset, tuple[str, ...]]:
    """Return all rules that can be read, and why others could not; a tool that lists rules is added here."""
    tools = _Tools()
    nft = tools.read(_read_nft, "nft", "-j", "list", "ruleset")
    tables = list(nft.tables) if nft else []
    none_here = bool(tools.missing)
    for family, command in _COMMANDS.items():
        version = run_tool(command, "-V")
        none_here = none_here and version.missing
        default = "nft" if "nf_tables" in (version.output or "") else "legacy"
        in_use = {
            "nft": nft is None or _has_iptables(tables, family),
            "legacy": bool(read_text(_LEGACY[family], MAX_NAMES).strip()),
        }
        for variant, tool in (("nft", Tool.IPTABLES_NFT), ("legacy", Tool.IPTABLES_LEGACY)):
            if not in_use[variant]:
                continue
            name, tool = (command, Tool.IPTABLES) if variant == default else (f"{command}-{variant}", tool)
            saved = tools.read(partial(iptables.read, family=family, tool=tool), f"{name}-save")
            if saved:
                tables = _replace(tables, saved.tables) if variant == "nft" and nft else [*tables, *saved.tables]
            elif variant == "legacy" and tools.missing and tools.missing[-1].endswith(f"{name}-save here"):
                tools.errors.append(f"rules of {command}-legacy are in force, and {tools.missing[-1]}")
    if none_here and not tables:
        tools.errors.append("there is neither nft nor iptables here")
    return Ruleset(tuple(tables), nft.not_evaluated if nft else ()), tuple(dict.fromkeys(tools.errors))


class _Tools:
    """Runs the tools that list rules; collects why some could not be read, and which are not there."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.missing: list[str] = []

    def read(self, reader: Callable[[str], Ruleset], tool: str, *arguments: str) -> Ruleset | None:
        """Return what a reader makes of a tool's output; None where that cannot be read."""
        result = run_tool(tool, *arguments)
        if result.output is None:
            (self.missing if result.missing else self.errors).append(result.error)
            return None
        try:
            return reader(result.output)
        except UnreadableRules as error:
            self.errors.append(f"{tool} printed {error}")
            return None


def _read_nft(text: str) -> Ruleset:
    return nftables.read(text, run_tool("nft", "-s", "-a", "list", "ruleset").output or "")


def _has_iptables(tables: Iterable[Table], family: Family) -> bool:
    """Return whether some table of nft's may be one of iptables, whose rules nft's JSON does not have whole."""
    return any(table.name == f"{_NFT_NAMES[family]} {name}" for table in tables for name in _IPTABLES_TABLES)


def _replace(listed: Iterable[Table], saved: Iterable[Table]) -> list[Table]:
    """Return nft's tables, but those of iptables as iptables lists them, if it lists all that is in them."""
    better = {f"{_NFT_NAMES[table.families[0]]} {table.name}": table for table in saved}
    return [better[table.name] if table.name in better and _covers(better[table.name], table) else table
            for table in listed]  # fmt: skip


def _covers(saved: Table, listed: Table) -> bool:
    counts = {chain.name: chain.rules[-1].number if chain.rules else 0 for chain in saved.chains}
    return all(
        counts.get(chain.name) == (chain.rules[-1].number if chain.rules else 0)
        and (chain.base is None or any(chain.base == other.base for other in saved.chains if other.name == chain.name))
        for chain in listed.chains
    )


def read_xdp() -> tuple[str, ...]:
    """Return sentences on XDP programs (ip-link(8)), which a network driver runs before anything else sees a packet."""
    interfaces, _ = read_interfaces()  # without an answer XDP is as unknown as other hidden things
    return tuple(f"An XDP program at {link.name[:MAX_INTERFACE]} sees packets first: what it drops looks as if it had "
                 "never come." for link in interfaces or () if link.xdp)  # fmt: skip
