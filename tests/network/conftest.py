from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import Lab, at_once, chosen, lab
from tests.network import test_guards

GUARDS = Path(test_guards.__file__)


@pytest.fixture
def net() -> Iterator[Lab]:
    """A network of the test's own."""
    with lab() as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The guards' tests last: their checks take minutes, which the others need too."""
    items.sort(key=lambda item: item.path == GUARDS)


@pytest.fixture(scope="session", autouse=True)
def guarded(
    request: pytest.FixtureRequest, archive: Path
) -> Iterator[Callable[[test_guards.Scenario], test_guards.Outcome]]:
    """The checks behind guards, all at once from the first network test on."""
    scenarios: list[test_guards.Scenario] = chosen(request, GUARDS)

    def run(scenario: test_guards.Scenario) -> test_guards.Outcome:
        return test_guards.run(scenario, archive)

    with at_once(scenarios, run, len(scenarios)) as results:
        yield results
