from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

import build
from tests import lab

SETUP = build.ROOT / "tests" / "windows" / "setup.sh"
SETUP_SECONDS = 600  # where nothing is at hand yet, it downloads 130 MB


@pytest.fixture(scope="module")
def network() -> Iterator[lab.Lab]:
    """One network for the tests of a module."""
    with lab.lab() as made:
        yield made


@pytest.fixture
def net(network: lab.Lab) -> Iterator[lab.Lab]:
    """That network, without the rules and names that an earlier test made."""
    yield network
    for host in (network.client, network.server):
        host.nft("flush ruleset")
        host.knows({})


@pytest.fixture(scope="session")
def python_win() -> Path:
    """The `python-win` of tests/windows/setup.sh. Where it cannot be had the test is skipped, but never in CI."""
    done = subprocess.run(
        [SETUP],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHON": sys.executable, **os.environ},
        timeout=SETUP_SECONDS,
        check=False,
    )
    if done.returncode:
        message = f"no Windows' Python: {done.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Path(done.stdout.strip())
