from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import at_once, chosen
from tests.systemd import test_patience
from tests.systemd.parts import Plugnmeet, own

PATIENCE = Path(test_patience.__file__)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits longest is asked for last."""
    items.sort(key=lambda item: item.path == PATIENCE)


@pytest.fixture(scope="session", autouse=True)
def patient(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[test_patience.Scenario], None]]:
    """The scenarios that wait, all at once from the first test on."""
    scenarios: list[test_patience.Scenario] = chosen(request, PATIENCE)

    def run(scenario: test_patience.Scenario) -> None:
        test_patience.run(scenario, archive)

    with at_once(scenarios, run, len(scenarios)) as results:
        yield results


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
