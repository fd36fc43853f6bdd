"""Network settings, by texts as the kernel writes them and by this machine's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ports import PortRange
from agent.system import sysctl
from tests.core.values import ANY


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("32768\t60999", PortRange(32768, 60999)),
        ("0 60999", PortRange(1, 60999)),
        ("60999 32768", None),
        ("1 70000", None),
        ("", None),
        ("many ports", None),
        ("1 2 3", None),
    ],
)
def test_a_range(text: str, ports: PortRange | None) -> None:
    assert sysctl.parse_range(text) == ports


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", set()), ("7881,50000-50002", {7881, 50000, 50001, 50002}), ("0", None), ("nonsense", None)],
)
def test_a_list(text: str, ports: set[int] | None) -> None:
    assert sysctl.parse_list(text) == ports


@ANY
@given(st.text())
def test_any_text(text: str) -> None:
    for read in (sysctl.parse_range, sysctl.parse_list):
        read(text)


def test_a_machine_without_such_files(tmp_path: Path) -> None:
    folder = f"{tmp_path}/"
    assert sysctl.read_ephemeral_ports(folder) is None
    assert sysctl.read_max_receive_buffer(folder) is None
    assert sysctl.read_reserved_ports(folder) == frozenset()


def test_settings_as_they_are_written(tmp_path: Path) -> None:
    for name, text in (("ipv4/ip_local_port_range", "32768\t60999\n"), ("core/rmem_max", "212992\n"),
                       ("ipv4/ip_local_reserved_ports", "8080,9000-9001\n")):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    folder = f"{tmp_path}/"
    assert sysctl.read_ephemeral_ports(folder) == PortRange(32768, 60999)
    assert sysctl.read_max_receive_buffer(folder) == 212_992
    assert sysctl.read_reserved_ports(folder) == frozenset((8080, 9000, 9001))
