from __future__ import annotations

import signal
from pathlib import Path

import pytest

import build

# Where the tests run in a shell's background or under nohup, these are ignored, and every program that is started
# here would inherit that. One that is handled is not inherited.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


@pytest.fixture(scope="session")
def archive() -> Path:
    """The archive that people copy. It has to be what the source builds, or the tests would try something else."""
    path = build.target()
    assert path.is_file(), f"{path} is not there; python3 build.py makes it"
    rows = build.differences(path.read_bytes(), build.build())
    assert not rows, f"{path} is not what the source builds; python3 build.py makes it anew: {rows}"
    return path
