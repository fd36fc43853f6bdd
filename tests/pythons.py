"""Finds the Pythons that the program is tried with."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

TOO_OLD = ("2.7", "3.6", "3.7")
NEWER = ("3.14", "3.15")  # tried where the computer has them; no test asks for them


def _candidates(version: str) -> Iterator[Path]:
    yield from sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)


def _is(version: str, python: Path) -> bool:
    """Also tells a pyenv's shim, which may stand for no Python at all."""
    told = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return told.stdout.decode().strip() == version


@functools.lru_cache(maxsize=None)
def find(version: str) -> Path | None:
    return next((python for python in _candidates(version) if _is(version, python)), None)


def need(version: str) -> Path:
    """That Python. Where it is missing the test is skipped, but never in CI."""
    python = find(version)
    if python is None:
        message = f"no Python {version} on PATH or in ~/.pyenv/versions"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return python


SUPPORTED = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", *filter(find, NEWER))
