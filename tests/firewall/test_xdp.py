"""XDP programs in what `ip -j link show` lists."""

from __future__ import annotations

import pytest

from agent.firewall import xdp
from agent.firewall.xdp import read_xdp
from agent.system.commands import CommandResult

LINKS = """[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"]},
{"ifindex":2,"ifname":"eth0","xdp":{"mode":1,"prog":{"id":7,"tag":"57cd311f2e27366b"}}}, 3]"""


@pytest.mark.parametrize(
    ("told", "named"),
    [
        (CommandResult(LINKS), ["An XDP program at eth0 se"]),
        (CommandResult("[]"), []),
        (CommandResult("{}"), []),
        (CommandResult("eth0: <UP>"), []),
        (CommandResult("[" * 100_000), []),
        (CommandResult(None, "there is no ip here", missing=True), []),
    ],
)
def test_an_xdp_program_is_named(told: CommandResult, named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xdp, "ask", lambda *words: told)
    assert [sentence[:25] for sentence in read_xdp()] == named
