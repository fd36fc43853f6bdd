"""Inputs that broke a decoder once, and how they come to be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import drawn, outcome
from tests.fuzz.targets import TARGETS, Target, attempt


def test_every_folder_is_a_targets() -> None:
    assert {one.name for one in outcome.CRASHES.iterdir() if one.is_dir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_what_broke_a_decoder_once(name: str) -> None:
    for path in outcome.crash_files(name):
        attempt(TARGETS[name], path.read_bytes())


def test_what_breaks_a_decoder_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(data: bytes) -> None:
        assert b"<" not in data

    monkeypatch.setitem(TARGETS, "broken", Target(broken, (b"a < b",), 10))
    monkeypatch.setattr(drawn, "CRASHES", tmp_path)
    monkeypatch.setattr(outcome, "CRASHES", tmp_path)
    found = drawn.fuzz("broken", 200, 1)
    (path,) = outcome.crash_files("broken")
    assert found.crashes == (str(path),)
    with pytest.raises(AssertionError):
        attempt(TARGETS["broken"], path.read_bytes())
