"""JSON that a stranger wrote: how deep it may nest, and that no text of the longest report takes long."""

from __future__ import annotations

import json
import time

import pytest

from agent.core.codec import Text, TupleOf, load_object
from agent.core.errors import DecodeError
from agent.core.report_json import to_json
from tests.core.test_report import REPORT


def nested(depth: int, opens: str = "[", closes: str = "]", inner: str = "1") -> str:
    """An object that nests so deep."""
    return '{"a":' + opens * (depth - 1) + inner + closes * (depth - 1) + "}"


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"b":', "}"), ('[ 1 , "]", ', ', "["]')])
def test_json_nests_as_deep_as_it_may_and_no_deeper(opens: str, closes: str) -> None:
    load_object(nested(16, opens, closes))
    for depth in (17, 100_000):
        with pytest.raises(DecodeError, match="nested deeper"):
            load_object(nested(depth, opens, closes))


@pytest.mark.parametrize(
    "text", ["[" * 99, "]" * 99, "{" * 99, '"', '\\"' + "[" * 99, "\\\\", '\\\\\\"{' * 99, "\n\u2028"]
)
def test_brackets_within_a_text_do_not_count(text: str) -> None:
    load_object(nested(16, inner=json.dumps(text)))
    assert TupleOf({"b": Text(999)}).decode(load_object(json.dumps({text: 1, "b": text}))) == (text,)
    with pytest.raises(DecodeError, match="nested deeper"):
        load_object(nested(17, inner=json.dumps(text)))


@pytest.mark.parametrize(
    "text", ["", "[", "{", '{"a":[}', '{"a":1}]', "}{", '"', "\\", '"\\', '{"a":"\\"}', '{"a":1e}']
)
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(DecodeError):
        load_object(text)


def test_a_report_is_far_from_the_limit() -> None:
    def depth(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert depth(to_json(REPORT)) == 6  # of 16


FULL = 4_194_304
LONG = {
    "brackets that open": "[" * FULL,
    "pairs": '{"a":[' + "[]," * (FULL // 3) + "1]}",
    "deep lists": '{"a":[' + ("[" * 14 + "]" * 14 + ",") * (FULL // 29) + "1]}",
    "quotes": '"' * FULL,
    "escaped quotes": '"' + '\\"' * (FULL // 2),
    "backslashes": '"' + "\\" * FULL,
    "an integer": '{"a":' + "1" * FULL + "}",
    "many digits": '{"a":1.' + "1" * FULL + "}",
    "an exponent": '{"a":1e' + "1" * FULL + "}",
    "a small exponent": '{"a":1e-' + "1" * FULL + "}",
    "zeros and an exponent": '{"a":0.' + "0" * (FULL // 2) + "1" * (FULL // 2) + f"e{FULL // 2}" + "}",
    "many numbers": '{"a":[' + ("1." + "9" * 800 + "e-300,") * (FULL // 808) + "1]}",
}  # fmt: skip


@pytest.mark.parametrize("what", LONG)
def test_no_json_of_the_longest_reports_size_takes_long(what: str) -> None:
    begun = time.process_time()
    try:
        load_object(LONG[what])
    except DecodeError:
        pass
    assert time.process_time() - begun < 5  # a second, on a machine that is idle
