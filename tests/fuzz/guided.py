"""One target under atheris (libFuzzer), which looks for inputs that reach new code. libFuzzer ends its process, so this
is one of its own: `python3 -m tests.fuzz.guided TARGET INPUTS SEED FOLDER`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.outcome import CRASHES, Outcome, crash_files

# The longest input that is made: a datagram, a request, a few lines. What grows with length is tested at full length.
MAX_BYTES = 2048
SECONDS, MEGABYTES = 10, 1024  # for one input

_DONE = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+)", re.MULTILINE)


def is_there() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(target: str, inputs: int, seed: int) -> Outcome:
    """Try one target in a process of its own."""
    known = crash_files(target)
    (CRASHES / target).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        argv = [sys.executable, "-m", "tests.fuzz.guided", target, str(inputs), str(seed), folder]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", errors="replace", check=False)
        seconds = time.perf_counter() - begun
    found = _DONE.findall(done.stderr)
    crashes = tuple(str(one) for one in crash_files(target) if one not in known)
    if done.returncode or not found:
        print(done.stderr[-3000:], file=sys.stderr)
        crashes = crashes or ("no file",)
    if not crash_files(target):
        (CRASHES / target).rmdir()
    tried, coverage = map(int, found[-1]) if found else (0, 0)
    return Outcome(target, tried, seconds, coverage, crashes)


def _words(sound: tuple[bytes, ...]) -> list[bytes]:
    """What a seed is made of, for libFuzzer to put together otherwise."""
    words = {word for one in sound for word in re.findall(rb'"?[A-Za-z_][A-Za-z_0-9-]{2,30}"?', one)}
    return sorted(words)[:500] or [b"\0"]


def _entry(word: bytes) -> str:
    """As libFuzzer's dictionaries have it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def _main(name: str, inputs: str, seed: str, folder: str) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["agent"]):
        from tests.fuzz.targets import TARGETS, attempt
    target, corpus, words = TARGETS[name], Path(folder, "corpus"), Path(folder, "words")
    corpus.mkdir()
    for number, one in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(one)
    words.write_text("".join(map(_entry, _words(target.seeds))), encoding="ascii")
    argv = [
        sys.argv[0], f"-runs={inputs}", f"-seed={seed}", f"-max_len={MAX_BYTES}", f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={CRASHES / name}/", f"-dict={words}", str(corpus),
    ]  # fmt: skip
    atheris.Setup(argv, lambda data: attempt(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    _main(*sys.argv[1:])
