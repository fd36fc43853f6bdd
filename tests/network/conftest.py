from __future__ import annotations

import compileall
import zipfile
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import Lab, lab


@pytest.fixture(scope="session")
def archive(pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's own files, unpacked and compiled: compiling them anew took a third of the tests' processor time.

    Tests that depend on the one file, on who may read it or on its name, take `pyz`.
    """
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(pyz) as opened:
        opened.extractall(folder)
    assert compileall.compile_dir(folder, quiet=1)
    return folder


@pytest.fixture
def net() -> Iterator[Lab]:
    """A network of the test's own."""
    with lab() as made:
        yield made
