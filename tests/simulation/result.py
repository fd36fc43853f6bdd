"""What came of a sweep over one network."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.report import Finding, State


@dataclass(frozen=True)
class Wrong:
    """A port that was called what it never was."""

    port: int
    state: State
    sent: int
    at_socket: int


@dataclass
class Socket:
    """What one of the client's sockets did: in each pass it is another one."""

    began: float
    ended: float
    sent: int = 0
    answered: int = 0


@dataclass(frozen=True)
class Result:
    """What came of one network: seconds of the virtual clock, verdicts, and those that are wrong or unknown."""

    seed: int
    kind: str
    description: str
    seconds: float
    probes: int
    sockets: tuple[Socket, ...]
    ports: int
    states: dict[str, int]
    wrong: tuple[Wrong, ...]
    reasons: dict[str, int]  # of the unknown ports
    findings: tuple[Finding, ...] = field(repr=False, compare=False)
    control: bool = True

    @property
    def unknown(self) -> int:
        """The ports that stayed without a verdict."""
        return sum(self.reasons.values())
