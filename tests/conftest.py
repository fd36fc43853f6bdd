from __future__ import annotations

import signal
from pathlib import Path

import pytest

import build

# What the tests of a folder are; the others reckon, and are traced for coverage.
KINDS = {
    "bench": "programs", "build": "programs", "network": "programs", "platforms": "programs", "systemd": "programs",
    "fuzz": "drawn", "simulation": "drawn",
}  # fmt: skip

# Where the tests run in a shell's background or under nohup, these are ignored, and every program that is started
# here would inherit that. One that is handled is not inherited.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by their folder, and begin with those that are waited for longest."""
    for item in items:
        kind = KINDS.get(item.path.relative_to(build.ROOT / "tests").parts[0])
        if kind:
            item.add_marker(kind)
    items.sort(key=lambda item: not item.get_closest_marker("long"))


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """What the tests run as the program."""
    return pyz


@pytest.fixture(scope="session")
def pyz() -> Path:
    """The archive that people copy. It has to be what the source builds, or the tests would try something else."""
    path = build.target()
    assert path.is_file(), f"{path} is not there; python3 build.py makes it"
    rows = build.differences(path.read_bytes(), build.build())
    assert not rows, f"{path} is not what the source builds; python3 build.py makes it anew: {rows}"
    return path
