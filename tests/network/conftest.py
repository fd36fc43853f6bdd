from __future__ import annotations

from typing import Iterator

import pytest

from tests.lab import Lab, lab


@pytest.fixture
def net() -> Iterator[Lab]:
    """A network of the test's own."""
    with lab() as made:
        yield made
