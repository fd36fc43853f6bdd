"""Checks of a few UDP ports in place of all."""

from __future__ import annotations

from pathlib import Path

from tests.lab import Lab, causes, check, hold, server, wrong

# 443 and the ends of the media ports, and as many of those between.
TRIED = 3 + 300
LEFT_OUT = "untested sampled"
MEDIA = "udp dport 50000-60000"


def test_a_sample_of_open_ports_is_no_pass(net: Lab, archive: Path) -> None:
    net.server.rules("input", "udp dport { 443, 50000-60000 } counter")
    with server(net.server, archive):
        seen = check(net.client, archive, net.server.ipv4, "--sample", "300")
    found = causes(seen.report)
    assert wrong(seen.report, {"udp 50001-59999": f"open or {LEFT_OUT}"}) == []
    assert sum(cause == "open" for (transport, _), cause in found.items() if transport == "udp") == TRIED
    assert (seen.status, seen.report["verdict"]) == (3, "inconclusive")
    assert seen.address["sample"] == {"ports": TRIED, "of": 10002}
    assert TRIED <= net.server.counted() <= TRIED + TRIED // 4 + 30  # followed up; a few may have been late
    advice = [one["text"] for one in seen.address["advice"]]
    assert len(advice) == 1
    assert advice[0].startswith("If 100 or more of these were blocked")


def test_a_sample_finds_a_hole_and_calls_no_other_port_blocked(net: Lab, archive: Path) -> None:
    net.server.rules("input", f"{MEDIA} counter", "udp dport 53000-53999 drop")
    with server(net.server, archive):
        seen = check(net.client, archive, net.server.ipv4, "--sample", "300")
    either = {"udp 50001-59999": f"open or {LEFT_OUT}", "udp 53000-53999": f"filtered or {LEFT_OUT}"}
    assert wrong(seen.report, either) == []
    assert (seen.status, seen.report["verdict"]) == (1, "fail")
    assert seen.address["summary"]["udp"]["filtered"] > 5
    assert net.server.counted() < 2000
    assert any("Only a sample was checked" in one["text"] for one in seen.address["advice"])


def test_two_samples_differ(net: Lab, archive: Path) -> None:
    with server(net.server, archive):
        one, other = (causes(check(net.client, archive, net.server.ipv4, "--sample", "300").report) for _ in range(2))
    assert one != other


def test_a_sample_of_more_than_there_is_has_them_all(net: Lab, archive: Path) -> None:
    with server(net.server, archive, "--udp", "50000-50299"):
        seen = check(net.client, archive, net.server.ipv4, "--sample", "298")
    assert wrong(seen.report, plan="tcp 80,443,7881 udp 50000-50299") == []
    assert (seen.status, seen.address["sample"]) == (0, None)


def test_what_the_server_cannot_listen_on_is_no_part_of_the_sample(net: Lab, archive: Path) -> None:
    # Nearly all are held: a sample of the others has them all.
    with hold(net.server, "udp 50000-50199"), server(net.server, archive, "--udp", "50000-50299") as running:
        assert [one["reason"] for one in running.listening["untested"]] == ["busy"]
        many = check(net.client, archive, net.server.ipv4, "--sample", "100")
        few = check(net.client, archive, net.server.ipv4, "--sample", "10")
    busy, plan = {"udp 50000-50199": "untested busy"}, "tcp 80,443,7881 udp 50000-50299"
    assert wrong(many.report, busy, plan=plan) == []
    assert wrong(few.report, {**busy, "udp 50201-50298": f"open or {LEFT_OUT}"}, plan=plan) == []
    assert [one.address["sample"] for one in (many, few)] == [None, {"ports": 12, "of": 300}]
    assert [one.status for one in (many, few)] == [3, 3]
