"""What the kernel tells of a process that gave root up, or did not; tests/network/test_root.py has real ones."""

from __future__ import annotations

import pytest

from agent.system.privileges import remaining_privileges

NOBODY = 65534
# Linux 6.18, shortened.
STATUS = """\
Name:\tpython3
Tgid:\t812
Uid:\t65534\t65534\t65534\t65534
Gid:\t65534\t65534\t65534\t65534
FDSize:\t64
Groups:\t
Seccomp:\t0
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t1
"""


def test_nothing_is_left_of_root() -> None:
    assert remaining_privileges(STATUS, NOBODY, NOBODY, True) == ""


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        ("Uid:\t65534\t65534\t65534\t65534", "Uid:\t65534\t65534\t0\t65534", "Uid 65534 65534 0 65534"),
        ("Gid:\t65534\t65534\t65534\t65534", "Gid:\t0\t65534\t65534\t65534", "Gid 0 65534 65534 65534"),
        ("Groups:\t", "Groups:\t0 27 ", "Groups 0 27"),
        ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000002000", "CapPrm 0000000000002000"),
        ("CapEff:\t0000000000000000", "CapEff:\t0000000000000400", "CapEff 0000000000000400"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs 0"),
        ("NoNewPrivs:\t1\n", "", "NoNewPrivs unknown"),
        ("Uid:\t65534\t65534\t65534\t65534\nGid:\t65534", "Gid:\t0", "Uid unknown, Gid 0 65534 65534 65534"),
    ],
)
def test_what_is_left_of_root(one: str, other: str, left: str) -> None:
    assert one in STATUS
    assert remaining_privileges(STATUS.replace(one, other), NOBODY, NOBODY, True) == left


def test_a_process_that_nothing_can_be_known_of() -> None:
    assert remaining_privileges("", NOBODY, NOBODY, True).startswith("Uid unknown, Gid unknown, Groups unknown, ")


def test_nobody_who_is_root() -> None:
    assert "uid 0" in remaining_privileges(STATUS.replace("65534", "0"), 0, 0, True)


def test_a_python_without_ctypes_can_start_what_gives_rights() -> None:
    assert remaining_privileges(STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"), NOBODY, NOBODY, False) == ""
