"""Try in three ways to be a second guardian of FOLDER; print what each says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).parents[3]))

from agent.core.errors import UserError
from agent.services import state_file

state_file.FOLDER = sys.argv[1]
attempts: list[Callable[[], object]] = [state_file.check_unlocked, lambda: state_file.locked().__enter__()]
for attempt in attempts:
    try:
        attempt()
    except UserError as error:
        print(error.code, error.why)
blocking = state_file.find_error()
print(blocking and blocking.code)
