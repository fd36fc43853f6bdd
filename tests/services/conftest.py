from __future__ import annotations

from typing import Iterator

import pytest

from tests.services.parts import Plugnmeet, own


@pytest.fixture(scope="module")
def booted() -> Iterator[Plugnmeet]:
    """A machine that the tests of a module share."""
    with own() as made:
        yield made


@pytest.fixture
def meet(booted: Plugnmeet) -> Iterator[Plugnmeet]:
    """A plugNmeet server that runs, and that has to run after the test, with nothing of the program's left."""
    booted.mend()
    yield booted
    booted.wait_until_back()
