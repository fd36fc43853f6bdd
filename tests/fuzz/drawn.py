"""Inputs that hypothesis draws: anything, and sound messages that were damaged."""

from __future__ import annotations

import hashlib
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.outcome import CRASHES, Outcome
from tests.fuzz.targets import TARGETS, Target, attempt


@st.composite
def damaged(draw: st.DrawFn, sound: tuple[bytes, ...]) -> bytes:
    """A sound message cut short, with bits flipped, or with other bytes in it."""
    data = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(("cut", "flip", "put", "take")))
        if how == "cut":
            del data[at:]
        elif how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "put":
            data[at:at] = draw(st.binary(max_size=8))
        else:
            del data[at : at + draw(st.integers(1, 8))]
    return bytes(data)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """For one target."""
    return st.binary(max_size=60) | damaged(target.seeds)


def fuzz(name: str, number: int, seed: int) -> Outcome:
    """Try one target, without looking at what the inputs reach."""
    target, tried, last = TARGETS[name], 0, b""

    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs(target))
    def run(data: bytes) -> None:
        nonlocal tried, last
        tried, last = tried + 1, data
        attempt(target, data)

    begun = time.perf_counter()
    crashes: tuple[str, ...] = ()
    try:
        run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        print(f"{name}: {error!r} by {last!r}")
        crashes = (_keep(name, last),)
    return Outcome(name, tried, time.perf_counter() - begun, None, crashes)


def _keep(name: str, data: bytes) -> str:
    folder = CRASHES / name
    folder.mkdir(exist_ok=True)
    path = folder / f"crash-{hashlib.sha1(data).hexdigest()}"
    path.write_bytes(data)
    return str(path)
