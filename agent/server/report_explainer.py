"""Adds to clients' reports what only this machine knows: which of its rules block ports, and who holds them."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from typing import Iterator, Sequence

from ..core.events import ReportReceived, Unavailable
from ..core.observation import Reason
from ..core.report import BLOCKED, Finding, Report
from ..firewall.blocking_rules import find_blocking_rules
from ..firewall.managers import managers_for_client
from ..firewall.model import HostFacts
from ..firewall.operator_report import add_operator_advice
from ..firewall.provider_fixes import provider_of
from ..system.dmi import read_dmi
from ..system.interfaces import read_addresses
from .options import Options
from .privileged import HelperGone, PrivilegedOperations

# Reports that are explained at a time: each has tools of the system read the firewall, on a core of the server's.
MAX_AT_ONCE = 4


class ReportExplainer:
    """Explains reports in threads of its own, while the loop goes on: some tools take seconds."""

    def __init__(self, options: Options, privileged: PrivilegedOperations) -> None:
        self._options, self._privileged = options, privileged
        self._threads: list[threading.Thread] = []
        self._explained: queue.Queue[ReportReceived] = queue.Queue()

    @property
    def busy(self) -> bool:
        """Return whether a report is being explained."""
        return bool(self._threads)

    def explain(self, event: ReportReceived, unavailable: Sequence[Unavailable]) -> None:
        """Explain a report, by the ports that are `unavailable` now."""
        event = replace(event, report=self._with_origins(event.report, unavailable))
        blocked = any(finding.state in BLOCKED for address in event.report.addresses for finding in address.findings)
        if blocked and len(self._threads) < MAX_AT_ONCE:
            thread = threading.Thread(target=self._explain, args=(event,), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # unlike root, nobody may have only so many
                pass
            else:
                self._threads.append(thread)
                return
        self._explain(event, HostFacts(addresses=read_addresses()))

    def take_explained(self) -> Iterator[ReportReceived]:
        """Yield the reports that were explained since the last call."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while not self._explained.empty():
            yield self._explained.get()

    def _explain(self, event: ReportReceived, host: HostFacts | None = None) -> None:
        try:
            report = add_operator_advice(event.report, host or self._read_host(event), self._options.plan)
        except Exception as error:  # noqa: BLE001 - the report is worth more than what explains it
            sentence = f"pnmcheck could not find out what blocks ports on this server: {type(error).__name__}: {error}"
            report = add_operator_advice(event.report, HostFacts(unread=(sentence,)), self._options.plan)
        self._explained.put(replace(event, report=report))

    def _read_host(self, event: ReportReceived) -> HostFacts:
        try:
            rules, unread, read, xdp = self._privileged.read()
        except HelperGone as gone:
            sentence = f"This server's firewall could not be read: {gone}."
            return HostFacts(provider=provider_of(read_dmi()), addresses=read_addresses(), unread=(sentence,))
        managers, more = managers_for_client(event.client, event.arrival.interface if event.arrival else None, read)
        return HostFacts(
            find_blocking_rules(event.report, rules, self._options.plan, event.client, event.arrival),
            managers,
            provider_of(read_dmi()),
            read_addresses(),
            (*map(_not_read, unread), *more, *map(_not_evaluated, rules.not_evaluated), *xdp),
        )

    def _with_origins(self, report: Report, unavailable: Sequence[Unavailable]) -> Report:
        """Return the report with who holds the busy ports and where the plan comes from.

        No unpaired client is told either.
        """

        def with_origin(finding: Finding) -> Finding:
            row = self._options.plan.row(finding.transport, finding.ports.first)
            finding = replace(finding, source=row.source if row else None)
            if finding.reason is not Reason.BUSY:
                return finding
            owners = {run.owner for run in unavailable
                      if run.transport is finding.transport and run.ports.overlaps(finding.ports)}  # fmt: skip
            return replace(finding, owner=owners.pop() if len(owners) == 1 else None)

        return replace(report, addresses=tuple(
            replace(address, findings=tuple(map(with_origin, address.findings)), notes=(*notes, *address.notes))
            for address, notes in zip(report.addresses, [self._options.notes, *((),) * len(report.addresses)])
        ))  # fmt: skip


def _not_read(error: str) -> str:
    return f"Some rules of this server's firewall could not be read: {error}."


def _not_evaluated(rule: str) -> str:
    return f"This comes before all rules that were read, and pnmcheck cannot say what it does with packets: {rule}"
