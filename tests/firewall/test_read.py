"""What the tools tell is joined: which variant is which, what is missing, what fails, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.address import Family
from agent.firewall import read as firewall
from agent.firewall.model import Tool
from agent.firewall.read import read_ruleset, read_xdp
from agent.system.commands import CommandResult
from agent.system.interfaces import Interface
from tests.firewall.goldens import golden

NFT = ("nft", "-j", "list", "ruleset")
NFT_TEXT = ("nft", "-s", "-a", "list", "ruleset")
NFT_DEFAULT: dict[tuple[str, ...], str | CommandResult] = {
    ("iptables", "-V"): "iptables v1.8.9 (nf_tables)\n",
    ("ip6tables", "-V"): "ip6tables v1.8.9 (nf_tables)\n",
}
LEGACY_DEFAULT: dict[tuple[str, ...], str | CommandResult] = {
    ("iptables", "-V"): "iptables v1.8.9 (legacy)\n",
    ("ip6tables", "-V"): "ip6tables v1.6.1\n",
}
EMPTY = '{"nftables": []}'


class Tools:
    """Tools that print what they are given; the others are not there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.prints: dict[tuple[str, ...], str | CommandResult] = {}
        self.asked: list[str] = []
        self.names = tmp_path / "ip_tables_names"
        monkeypatch.setattr(firewall, "run_tool", self._ask)
        monkeypatch.setattr(firewall, "_LEGACY", {Family.IPV4: str(self.names), Family.IPV6: str(tmp_path / "none")})

    def _ask(self, *words: str) -> CommandResult:
        self.asked.append(words[0])
        told = self.prints.get(words)
        if told is None:
            return CommandResult(None, f"there is no {words[0]} here", missing=True)
        return told if isinstance(told, CommandResult) else CommandResult(told)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tools:
    return Tools(monkeypatch, tmp_path)


def read() -> tuple[list[tuple[Tool, str]], tuple[str, ...]]:
    rules, unread = read_ruleset()
    return [(table.tool, table.name) for table in rules.tables], unread


IPTABLES = [(Tool.IPTABLES, name) for name in ("filter", "nat", "raw", "mangle")]


def test_nft_alone(tools: Tools) -> None:
    tools.prints = {NFT: golden("many.nft.json"), NFT_TEXT: golden("many.nft")}
    assert read() == ([(Tool.NFT, "inet filter"), (Tool.NFT, "ip6 x")], ())
    assert read_ruleset()[0].not_evaluated


def test_tables_that_iptables_lists_whole_are_its_own(tools: Tools) -> None:
    tools.prints = {NFT: golden("many.iptables-nft.json"), **NFT_DEFAULT,
                    ("iptables-save",): golden("many.iptables-nft")}  # fmt: skip
    assert read() == (IPTABLES, ())
    assert "ip6tables-save" not in tools.asked  # nft has no such table


def test_tables_that_iptables_does_not_list_whole_stay_nfts(tools: Tools) -> None:
    less = golden("many.iptables-nft").replace("-A USER -m limit --limit 3/min -j ACCEPT\n", "")
    tools.prints = {NFT: golden("many.iptables-nft.json"), **NFT_DEFAULT, ("iptables-save",): less}
    assert read()[0] == [(Tool.NFT, "ip filter"), *IPTABLES[1:]]
    policy = golden("many.iptables-nft").replace(":INPUT DROP", ":INPUT ACCEPT")
    tools.prints[("iptables-save",)] = policy
    assert read()[0] == [(Tool.NFT, "ip filter"), *IPTABLES[1:]]


def test_rules_of_the_variant_that_is_not_the_default(tools: Tools) -> None:
    tools.names.write_text("filter\nnat\n", encoding="ascii")
    legacy = golden("many.iptables-legacy")
    tools.prints = {NFT: EMPTY, **NFT_DEFAULT, ("iptables-legacy-save",): legacy}
    assert {tool for tool, _ in read()[0]} == {Tool.IPTABLES_LEGACY}
    tools.prints = {NFT: EMPTY, **LEGACY_DEFAULT, ("iptables-save",): legacy}
    assert {tool for tool, _ in read()[0]} == {Tool.IPTABLES}
    tools.names.unlink()
    tools.prints = {NFT: golden("many.iptables-nft.json"), **LEGACY_DEFAULT,
                    ("iptables-nft-save",): golden("many.iptables-nft")}  # fmt: skip
    assert {tool for tool, _ in read()[0]} == {Tool.IPTABLES_NFT}


@pytest.mark.parametrize("names", [None, "", "\n"])
def test_the_legacy_tools_are_not_asked_where_nothing_is_theirs(tools: Tools, names: str | None) -> None:
    if names is not None:
        tools.names.write_text(names, encoding="ascii")
    tools.prints = {NFT: EMPTY, **LEGACY_DEFAULT, ("iptables-save",): golden("many.iptables-legacy")}
    assert read() == ([], ())
    assert not [tool for tool in tools.asked if "save" in tool]


def test_legacy_rules_without_their_tool_are_told(tools: Tools) -> None:
    tools.names.write_text("filter\n", encoding="ascii")
    tools.prints = {NFT: EMPTY, **NFT_DEFAULT}
    assert read() == ([], ("rules of iptables-legacy are in force, and there is no iptables-legacy-save here",))


def test_without_nft_or_its_json_iptables_still_lists_its_own(tools: Tools) -> None:
    tools.prints = {**NFT_DEFAULT, ("iptables-save",): golden("many.iptables-nft"), ("ip6tables-save",): ""}
    assert sorted(read()[0]) == sorted(IPTABLES)
    assert read()[1] == ()
    trouble = "nft failed: Error: JSON support not compiled-in"
    tools.prints[NFT] = CommandResult(None, trouble)
    assert sorted(read()[0]) == sorted(IPTABLES)
    assert read()[1] == (trouble,)


def test_what_hangs_or_is_no_listing_is_told_once(tools: Tools) -> None:
    tools.prints = {NFT: "table inet filter {", **NFT_DEFAULT, ("iptables-save",): "noise",
                    ("ip6tables-save",): CommandResult(None, "ip6tables-save did not answer in 5 s")}  # fmt: skip
    assert read() == ([], (
        "nft printed no listing of rules in JSON", "iptables-save printed a line outside any table",
        "ip6tables-save did not answer in 5 s",
    ))  # fmt: skip


def test_where_no_tool_is_there(tools: Tools) -> None:
    assert read() == ([], ("there is neither nft nor iptables here",))
    tools.prints = dict(LEGACY_DEFAULT)
    assert read() == ([], ())


@pytest.mark.parametrize(
    ("interfaces", "named"),
    [
        ((Interface("lo", ()), Interface("eth0", (), xdp=True)), ["An XDP program at eth0 se"]),
        ((Interface("a-name-of-20-letters", (), xdp=True),), ["An XDP program at a-name-"]),
        ((), []),
        (None, []),
    ],
)
def test_an_xdp_program_is_named(
    interfaces: tuple[Interface, ...] | None, named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firewall, "read_interfaces", lambda: (interfaces, ""))
    assert [sentence[:25] for sentence in read_xdp()] == named
