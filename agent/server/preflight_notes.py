"""Finds other problems of this machine while the server runs."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import Collection, Iterator, Mapping, Sequence

from ..core.address import Family
from ..core.events import Note, Notes
from ..core.report import Report
from ..net import addresses
from ..preflight import evaluate
from ..preflight.addresses import advertised_addresses, domain_names, stun_servers
from ..preflight.model import Machine, OutsideAnswers
from .options import Options
from .outside import HairpinProbe, ask_outside, comes_back
from .privileged import PrivilegedOperations

# Notes that clients' reports are good for: a server has a few, and who makes up more of them is not listened to.
MAX_NOTES = 20
# Ports at which a packet to ourselves is awaited: some may be blocked on the way.
HAIRPIN_PORTS = 4


@dataclass(frozen=True)
class Preflight:
    """Some notes, and by port the fingerprints of the certificates on the disk where these became known."""

    notes: Notes
    certificates: Mapping[int, Collection[str]] | None = None


class PreflightNotes:
    """Collects notes in a thread of its own, and from reports."""

    def __init__(self, options: Options, privileged: PrivilegedOperations, hairpin: HairpinProbe) -> None:
        self._options, self._privileged, self._hairpin = options, privileged, hairpin
        self._results: queue.Queue[Preflight] = queue.Queue()
        self._noted: set[Note] = set()
        self._outside = OutsideAnswers()

    def start(self, families: Sequence[Family], udp_ports: Sequence[int]) -> None:
        """Look at this machine, while the loop goes on; `udp_ports` are bound for these families as long as it does."""
        ports = [] if self._options.bind else udp_ports  # of one address alone, which may not be the public one
        ports = ports[:: max(1, -(-len(ports) // HAIRPIN_PORTS))]
        threading.Thread(target=self._collect, args=(families, ports), daemon=True).start()

    def take(self) -> Iterator[Preflight]:
        """Yield what was found since the last call."""
        while not self._results.empty():
            yield self._results.get()

    def on_report(self, report: Report) -> None:
        """Note what a report shows of this machine, each thing once."""
        if self._options.prechecks and len(self._noted) < MAX_NOTES:
            advertised = advertised_addresses(self._options.installed, self._outside)
            notes = evaluate.check_report(report, time.time(), advertised)
            fresh = tuple(note for note in notes if note not in self._noted)
            self._noted.update(fresh)
            if fresh:
                self._results.put(Preflight(Notes(fresh)))

    def _collect(self, families: Sequence[Family], ports: Sequence[int]) -> None:
        try:
            outgoing = {family: addresses.outgoing_address(family) for family in families}
            known = tuple(address for address in outgoing.values() if address)
            machine = replace(self._privileged.machine(), outgoing_addresses=known)
            self._check_machine(machine)
            if self._options.installed and not self._options.offline:
                self._check_outside(machine, [family for family in families if outgoing[family]], ports)
        except Exception as error:  # noqa: BLE001 - the check of the ports goes on
            self._results.put(Preflight(Notes(unknown=(f"more of this machine: {type(error).__name__}: {error}",))))

    def _check_machine(self, machine: Machine) -> None:
        options, installed = self._options, self._options.installed
        certificates: Mapping[int, Collection[str]] | None = None
        if installed and not any(error.startswith(path) for error in machine.errors
                                 for _, path in installed.certificates):  # fmt: skip
            fingerprints = {certificate.fingerprint for certificate in machine.certificates}
            certificates = {port: fingerprints for port, _ in installed.certificates}
        notes = evaluate.check_machine(machine, options.plan, installed)
        unknown = [f"LiveKit's configuration ({options.unread})"] if options.unread else []
        unknown += ["STUN, hairpin and DNS (--offline)"] if installed and options.offline else []
        self._results.put(Preflight(replace(notes, unknown=(*notes.unknown, *unknown)), certificates))

    def _check_outside(self, machine: Machine, routes: Sequence[Family], ports: Sequence[int]) -> None:
        installed = self._options.installed
        assert installed
        names = domain_names(machine, installed)
        outside = ask_outside(stun_servers(installed), names, routes)
        public = (outside.egress or {}).get(Family.IPV4)
        if public and ports:
            outside = replace(outside, hairpin=comes_back(public, ports, self._hairpin))
        self._outside = outside
        self._results.put(Preflight(evaluate.check_outside(outside, machine, installed)))
