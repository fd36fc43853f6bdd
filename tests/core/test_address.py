"""IP addresses as values."""

from __future__ import annotations

import pytest

from agent.core.address import is_internal, parse_address

INTERNAL = "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 169.254.1.1 fd00::1 fe80::1%eth0"
PUBLIC = "9.255.255.255 11.0.0.1 172.15.0.1 172.32.0.1 192.167.0.1 100.63.0.1 100.128.0.1 198.51.100.1 2001:db8::1"


@pytest.mark.parametrize("text", [*INTERNAL.split(), "::ffff:10.0.0.1"])
def test_only_neighbours_reach_it(text: str) -> None:
    assert is_internal(parse_address(text))


@pytest.mark.parametrize("text", [*PUBLIC.split(), "127.0.0.1", "::1"])
def test_it_is_no_private_networks(text: str) -> None:
    assert not is_internal(parse_address(text))
