"""Boot a machine, print its namespace's name and systemd's process id, and wait."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.lab import lab
from tests.systemd.machine import machine

with lab() as net, machine(net.server) as made:
    made.popen(["sleep", "1000"])
    print(net.server.name, made.init, flush=True)
    time.sleep(1000)
