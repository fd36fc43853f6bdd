from __future__ import annotations

from pathlib import Path

import pytest

import build


@pytest.fixture(scope="session")
def archive() -> Path:
    """The archive that people copy. It has to be what the source builds, or the tests would try something else."""
    path = build.target()
    assert path.is_file(), f"{path} is not there; python3 build.py makes it"
    rows = build.differences(path.read_bytes(), build.build())
    assert not rows, f"{path} is not what the source builds; python3 build.py makes it anew: {rows}"
    return path
