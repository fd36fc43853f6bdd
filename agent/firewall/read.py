"""The rules of this host's firewall, as its tools list them. Nothing is changed by that, nor any module loaded."""

from __future__ import annotations

from functools import partial
from typing import Callable, Iterable

from ..core.address import Family
from ..system.commands import run_tool
from ..system.files import read_text
from . import iptables, nftables
from .model import Tool
from .ruleset import Ruleset, Table, UnreadableRules

_COMMANDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_NFT_NAMES = {Family.IPV4: "ip", Family.IPV6: "ip6"}
# The legacy variant's tables that are in use. Its tools are asked only then: else they would make them.
_LEGACY = {Family.IPV4: "/proc/net/ip_tables_names", Family.IPV6: "/proc/net/ip6_tables_names"}
MAX_NAMES = 100  # characters of them: whether there is one says all
_IPTABLES_TABLES = frozenset(("filter", "mangle", "nat", "raw", "security"))


def read_ruleset() -> tuple[Ruleset, tuple[str, ...]]:
    """All rules that can be read, and sentences on what could not."""
    unread: list[str] = []
    missing: list[str] = []

    def tell(reader: Callable[[str], Ruleset], tool: str, *arguments: str) -> Ruleset | None:
        told = run_tool(tool, *arguments)
        if told.output is None:
            (missing if told.missing else unread).append(told.error)
            return None
        try:
            return reader(told.output)
        except UnreadableRules as error:
            unread.append(f"{tool} printed {error}")
            return None

    def read_nft(text: str) -> Ruleset:
        return nftables.read(text, run_tool("nft", "-s", "-a", "list", "ruleset").output or "")

    listed = tell(read_nft, "nft", "-j", "list", "ruleset")
    tables = list(listed.tables) if listed else []
    none_here = bool(missing)
    for family, command in _COMMANDS.items():
        version = run_tool(command, "-V")
        none_here = none_here and version.missing
        default = "nft" if "nf_tables" in (version.output or "") else "legacy"
        in_use = {
            "nft": listed is None or _has_some(tables, family),
            "legacy": bool(read_text(_LEGACY[family], MAX_NAMES).strip()),
        }
        for variant, tool in (("nft", Tool.IPTABLES_NFT), ("legacy", Tool.IPTABLES_LEGACY)):
            if not in_use[variant]:
                continue
            name, tool = (command, Tool.IPTABLES) if variant == default else (f"{command}-{variant}", tool)
            told = tell(partial(iptables.read, family=family, tool=tool), f"{name}-save")
            if told and variant == "nft" and listed:
                tables = _replaced(tables, told.tables)
            elif told:
                tables += told.tables
            elif variant == "legacy" and missing and missing[-1].endswith(f"{name}-save here"):
                unread.append(f"rules of {command}-legacy are in force, and {missing[-1]}")
    if none_here and not tables:
        unread.append("there is neither nft nor iptables here")
    return Ruleset(tuple(tables), listed.not_evaluated if listed else ()), tuple(dict.fromkeys(unread))


def _has_some(tables: Iterable[Table], family: Family) -> bool:
    """Whether some table of nft's may be one of iptables, for which it has no words."""
    return any(table.name == f"{_NFT_NAMES[family]} {name}" for table in tables for name in _IPTABLES_TABLES)


def _replaced(listed: Iterable[Table], saved: Iterable[Table]) -> list[Table]:
    """nft's tables, but those of iptables as iptables lists them, if it lists all that is in them."""
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
