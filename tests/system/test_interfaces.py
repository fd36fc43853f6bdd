"""The addresses of interfaces, by /proc/net as Linux writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.system import interfaces
from agent.system.interfaces import parse_fib_trie, parse_if_inet6, read_interfaces

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
    assert read_interfaces(str(ipv4), str(ipv6)) == ()
    ipv4.write_text(FIB_TRIE * 2, encoding="ascii")
    ipv6.write_text(IF_INET6, encoding="ascii")
    assert read_interfaces(str(ipv4), str(ipv6)) == ("203.0.113.10", "172.17.0.1", "2001:db8:1::1")
    monkeypatch.setattr(interfaces, "MAX_FOUND", 1)
    assert len(read_interfaces(str(ipv4), str(ipv6))) == 1
    monkeypatch.setattr(interfaces, "MAX_TEXT", 2 * len(FIB_TRIE) - 1)
    assert read_interfaces(str(ipv4), str(ipv6)) == ("2001:db8:1::1",)
