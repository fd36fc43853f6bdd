"""The interfaces as `ip` lists them, and their addresses in /proc/net as Linux writes it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.system import interfaces
from agent.system.commands import CommandResult
from agent.system.interfaces import (
    Interface,
    parse_fib_trie,
    parse_if_inet6,
    parse_interfaces,
    read_addresses,
    read_interfaces,
)
from tests.core.values import ANY

# iproute2 6.1: one object for each interface, and an empty one for each that `up` leaves out.
ADDRESSES = """[{},{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[
{"family":"inet","local":"127.0.0.1","prefixlen":8},{"family":"inet6","local":"::1","prefixlen":128}]},
{"ifname":"eth0","xdp":{"mode":1,"prog":{"id":7}},"addr_info":[{"family":"inet","local":"198.51.100.1"},{"family":"inet6","local":"2001:db8:1::1"},
{"family":"inet6","local":"fe80::1"}]},
{"ifname":"docker0","flags":["NO-CARRIER","UP"],"addr_info":[{"family":"inet","local":"172.17.0.1"}]},
{"ifname":"tun0","addr_info":[{}]},{"ifname":"eth1","addr_info":[{"family":"inet6","local":"fe80::2"}]}]"""


def test_the_interfaces() -> None:
    assert parse_interfaces(ADDRESSES) == (
        Interface("lo", ()),
        Interface("eth0", (ipaddress.ip_address("198.51.100.1"), ipaddress.ip_address("2001:db8:1::1")), xdp=True),
        Interface("docker0", (ipaddress.ip_address("172.17.0.1"),)),
        Interface("tun0", ()),
        Interface("eth1", ()),
    )


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}x", "3", "[3]", '["eth0"]', '[{"ifname":"eth0"}]', '[{"addr_info":[]}]', "[" * 100_000,
     '[{"ifname":"eth0","addr_info":[{"local":"nowhere"}]}]', '[{"ifname":"eth0","addr_info":{"local":1}}]'],
)  # fmt: skip
def test_what_is_no_list_of_interfaces(text: str) -> None:
    assert parse_interfaces(text) is None


@ANY
@given(st.text())
def test_any_text(text: str) -> None:
    parse_interfaces(text)


def test_an_ip_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "run_tool", lambda *words: CommandResult(None, "ip did not answer in 5 s"))
    assert read_interfaces() == (None, "ip did not answer in 5 s")


FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 203.0.113.0/24 2 0 2
        |-- 203.0.113.0
           /24 link UNICAST
        |-- 203.0.113.10
           /32 host LOCAL
        |-- 203.0.113.255
           /32 link BROADCAST
Local:
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 172.17.0.1
           /24 link UNICAST
           /32 host LOCAL
        |-- 999.9.9.9
           /32 host LOCAL
           /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000100000000000000000001 02 40 00 80     eth0
fe80000000000000505400fffe123456 02 40 20 80     eth0
nonsense

"""


def test_addresses_of_both_families() -> None:
    assert list(parse_fib_trie(FIB_TRIE)) == ["203.0.113.10", "172.17.0.1"]
    assert list(parse_if_inet6(IF_INET6)) == ["2001:db8:1::1"]


def test_addresses_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ipv4, ipv6 = tmp_path / "fib_trie", tmp_path / "if_inet6"
    assert read_addresses(str(ipv4), str(ipv6)) == ()
    ipv4.write_text(FIB_TRIE * 2, encoding="ascii")
    ipv6.write_text(IF_INET6, encoding="ascii")
    assert read_addresses(str(ipv4), str(ipv6)) == ("203.0.113.10", "172.17.0.1", "2001:db8:1::1")
    monkeypatch.setattr(interfaces, "MAX_ADDRESSES", 1)
    assert len(read_addresses(str(ipv4), str(ipv6))) == 1
    monkeypatch.setattr(interfaces, "MAX_TEXT", 2 * len(FIB_TRIE) - 1)
    assert read_addresses(str(ipv4), str(ipv6)) == ("2001:db8:1::1",)
