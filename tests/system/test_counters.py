"""The kernel's limits, by texts as kernels write them, and by any others."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.counters import Counters, KernelStatus
from agent.system import counters
from tests.core.values import ANY

# Linux 6.18, a network namespace of two CPUs; the counters are made up.
STATISTICS = (
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  "
    "expect_new expect_create expect_delete search_restart\n"
    "000000c9  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000005 0000001f 00000007 "
    "00000000  00000000 00000000 00000000 00000000\n"
    "000000c9  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 000000e1 00000000 "
    "00000000  00000000 00000000 00000000 00000000\n"
)
# Linux 4.15 (Ubuntu 18.04) has other columns before these.
OLDER = (
    "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  "
    "expect_new expect_create expect_delete search_restart\n"
    "00000034  00000000 00000003 00000000 000000ea 000a84c0 00000000 00000000 00000000 00000000 fffffffe 00000000 "
    "00000000  00000000 00000000 00000000 00000004\n"
)
SNMP = (
    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens\n"
    "Tcp: 1 200 120000 -1 3\n"
    "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n"
    "Udp: 84415 30 12 84448 12 0 0 0 0\n"
    "UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n"
    "UdpLite: 0 0 0 0 99 0 0 0 0\n"
)
NETSTAT = (
    "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits\n"
    "TcpExt: 0 4 9 2549\n"
    "IpExt: InNoRoutes InTruncatedPkts\n"
    "IpExt: 0 0\n"
)
SNMP6 = (
    "Ip6InReceives                   \t96\n"
    "Udp6OutDatagrams                \t42\n"
    "Udp6RcvbufErrors                \t3\n"
    "UdpLite6RcvbufErrors            \t99\n"
)


@pytest.mark.parametrize(
    ("maximum", "count", "free"),
    [
        ("262144\n", "201\n", 261943),
        ("7680", "7680", 0),
        ("7680\n", "7683\n", 0),  # the limit was lowered, or is met by several CPUs at a time
        ("4294967295\n", "1\n", 1_000_000_000),
        ("262144\n", "0\n", None),  # nothing is tracked
        ("0\n", "10\n", None),  # no limit
        ("", "", None),
        ("262144\n", "", None),
        ("", "5\n", None),
        ("-1\n", "5\n", None),
        ("262144\n", "1_0\n", None),
        ("262144 5\n", "5\n", None),
        ("0x40000\n", "5\n", None),
        ("\u0662\u0666\n", "5\n", None),
        ("9" * 5000, "5\n", None),
    ],
)
def test_free_flows(maximum: str, count: str, free: int | None) -> None:
    assert counters.free_flows(maximum, count) == free


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        (STATISTICS, 0x1F + 0xE1),
        (OLDER, 0xFFFFFFFE),
        (STATISTICS.replace(" drop ", " dropped "), None),
        (STATISTICS.splitlines()[0], None),
        (STATISTICS[:-2], 0x1F + 0xE1),  # cut within the last number, which is another one
        (STATISTICS[:-20], None),
        (STATISTICS.replace("000000e1", "0x0000e1"), None),
        (STATISTICS.replace("000000e1", "-00000e1"), None),
        (STATISTICS.replace("000000e1", "0" * 5000), None),
        ("", None),
        ("\n\n", None),
        ("drop\n", None),
        ("drop\nff\n1\n", 0x100),
    ],
)
def test_what_connection_tracking_dropped(text: str, drops: int | None) -> None:
    assert counters.conntrack_drops(text) == drops


@pytest.mark.parametrize(
    ("snmp", "snmp6", "errors"),
    [
        (SNMP, SNMP6, 15),
        (SNMP, "", 12),
        ("", SNMP6, 3),
        ("", "", None),
        (SNMP.replace("RcvbufErrors ", "BufErrors "), "", None),
        (SNMP.replace("84448 12 ", "84448 -12 "), "", None),
        (SNMP.replace("84448 12 ", "84448 "), "", None),
        (SNMP.replace("UdpLite:", "Udp:"), "", None),  # which of them?
        (SNMP.partition("Udp: 84415")[0], "", None),
        ("Udp:\nUdp:\n", "", None),
        ("", SNMP6.replace("\t3", "\t"), None),
        ("", SNMP6.replace("\t3", "\t3 4"), None),
        ("", SNMP6.replace("\t3", "\tmany"), None),
        ("", SNMP6 * 2, None),
        (SNMP.replace(" 0 0 0 0\nUdpLite: In", " 0 0 0 5\nUdpLite: In"), "Udp6MemErrors 7\n" + SNMP6, 27),
        (SNMP.replace(" IgnoredMulti MemErrors", "").replace("48 12 0 0 0 0", "48 12 0 0"), "", 12),  # before 5.11
    ],
)
def test_what_found_a_full_receive_buffer(snmp: str, snmp6: str, errors: int | None) -> None:
    assert counters.receive_errors(snmp, snmp6) == errors


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        (NETSTAT, 9),
        (NETSTAT.replace(" 9 ", " -9 "), None),
        (NETSTAT.replace(" 9 ", " "), None),
        (NETSTAT.replace("ListenDrops", "Drops"), None),
        ("", None),
    ],
)
def test_what_found_no_room_in_a_ports_queue(text: str, drops: int | None) -> None:
    assert counters.listen_drops(text) == drops


WORDS = st.sampled_from(["drop", "insert_failed", "Udp:", "Udp6RcvbufErrors", "RcvbufErrors", "0", "ff", "12", "-1"])
TEXTS = st.text() | st.lists(st.lists(WORDS | st.text(max_size=4), max_size=4).map(" ".join), max_size=5).map("\n".join)


@ANY
@given(TEXTS, TEXTS)
def test_any_text_is_a_number_or_none(one: str, other: str) -> None:
    for found in (
        counters.free_flows(one, other),
        counters.conntrack_drops(one),
        counters.receive_errors(one, other),
        counters.listen_drops(one),
    ):
        assert found is None or found >= 0


def read() -> KernelStatus:
    with contextlib.ExitStack() as stack:
        return counters.read_kernel(
            [stack.enter_context(contextlib.closing(one)) for one in counters.open_conntrack_statistics()]
        )


def test_files_that_are_not_there_not_text_or_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noise, folder, missing = tmp_path / "noise", tmp_path / "folder", tmp_path / "missing"
    noise.write_bytes(bytes(range(256)) * 10)
    folder.mkdir()
    monkeypatch.setattr(counters, "_MAXIMUM", str(noise))
    monkeypatch.setattr(counters, "_COUNT", str(folder))
    monkeypatch.setattr(counters, "_STATISTICS", (str(missing), str(noise)))
    monkeypatch.setattr(counters, "_SNMP", str(missing))
    monkeypatch.setattr(counters, "_SNMP6", str(noise))
    monkeypatch.setattr(counters, "_NETSTAT", str(folder))
    assert read() == KernelStatus()


def test_the_files_of_a_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = {"_MAXIMUM": "7680\n", "_COUNT": "80\n", "_SNMP": SNMP, "_SNMP6": SNMP6, "_NETSTAT": NETSTAT}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="ascii")
        monkeypatch.setattr(counters, name, str(tmp_path / name))
    statistics = tmp_path / "ip_conntrack"
    statistics.write_text(STATISTICS, encoding="ascii")
    monkeypatch.setattr(counters, "_STATISTICS", (str(tmp_path / "nf_conntrack"), str(tmp_path / "ip_conntrack")))
    assert read() == KernelStatus(7600, Counters(256, 15, listen_drops=9))


def test_what_was_open_is_read_anew_by_who_may_not_open_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    statistics = tmp_path / "nf_conntrack"
    statistics.write_text(STATISTICS, encoding="ascii")
    monkeypatch.setattr(counters, "_STATISTICS", (str(statistics),))
    with contextlib.closing(counters.open_conntrack_statistics()[0]) as kept:
        assert counters.read_kernel([kept]).counters.conntrack_drops == 256
        with statistics.open("r+", encoding="ascii") as file:
            file.write(STATISTICS.replace("000000e1", "000000e2"))
        statistics.unlink()
        assert counters.read_kernel([kept]).counters.conntrack_drops == 257
