"""Run the guardian: a process that stops services and starts them again, and outlives the program that needs that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time

from ..core.errors import DecodeError, Exit, UsageError
from ..core.events import ServiceTransition
from . import state_file
from .model import StopList, read_stop_list
from .restore import release_ports, start_services
from .stop import TICK, stop_services

# Beyond the list's time, in which the program has long ended by itself.
MARGIN_SECONDS = 30.0


def guard() -> Exit:
    """Stop the services of the list on stdin, and start them again when stdin ends, whatever happens."""
    if os.geteuid() != 0:
        raise UsageError("this needs root", "only root stops and starts services", "start it with sudo")
    # Why the services are to run again: `restore` and `end` by way of stdin, `term` by a signal, `again` after a kill.
    orders: list[str] = []
    _outlive(orders)
    with state_file.locked():
        if state_file.exists():  # a guardian was killed, and systemd has started this one instead
            stop_list = state_file.read_list()
            orders.append("again")
        else:
            stop_list = _read_orders(orders)
            state_file.write_list(stop_list)
        try:
            stop_services(stop_list, orders, _report)
            deadline = time.monotonic() + stop_list.seconds + MARGIN_SECONDS
            while not orders and time.monotonic() < deadline:
                time.sleep(TICK)
        finally:
            if orders[:1] != ["restore"]:
                release_ports(stop_list, orders)
            start_services(stop_list, _report)
    return Exit.PASS


def _outlive(orders: list[str]) -> None:
    """Ignore the signals that end the program, and be the last that the kernel kills for want of memory."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: orders.append("term"))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")


def _read_orders(orders: list[str]) -> StopList:
    """Return the list, which comes first on stdin; every later line, and the end, is appended to the orders."""
    lines = open(0, "rb", closefd=False)  # noqa: SIM115 - it is read until this process ends
    try:
        stop_list = read_stop_list(lines.readline(state_file.MAX_LIST))
    except DecodeError as error:
        raise UsageError("--guardian", f"this is for pnmcheck itself: {error}") from None

    def follow() -> None:
        for line in lines:
            orders.append(line.decode("ascii", "replace").strip())
        orders.append("end")

    threading.Thread(target=follow, daemon=True).start()
    return stop_list


def _report(transition: ServiceTransition) -> None:
    with contextlib.suppress(OSError):  # nobody is left who reads it
        os.write(1, json.dumps(vars(transition)).encode("ascii") + b"\n")
