"""report.schema.json says what the codec's table says, and every report is as it says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given

from agent.core import report_json
from agent.core.report import Report
from tests.core import report_schema, test_goldens
from tests.core.values import FEW, REPORTS


def plain(schema: Any, whole: Any) -> Any:
    """A schema without what is for people, and with what it refers to in its place."""
    if isinstance(schema, list):
        return [plain(item, whole) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return plain(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    return {
        key: {name: plain(inner, whole) for name, inner in value.items()}
        if key == "properties"
        else plain(value, whole)
        for key, value in schema.items()
        if key not in ("$schema", "$id", "$defs", "title", "description")
    }


def test_the_file_and_the_codec_say_the_same() -> None:
    whole = json.loads(report_schema.FILE.read_text(encoding="utf-8"))
    assert plain(whole, whole) == report_schema.derive(report_json.REPORT)


def test_every_key_is_described() -> None:
    def look(schema: Any) -> None:
        for name, inner in schema.get("properties", {}).items() if isinstance(schema, dict) else ():
            if name not in ("min", "median", "p95", "to_server", "to_client", "local", "mapped", "ports", "of"):
                assert "description" in inner or name in bare, name
            look(inner)
        for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            look(inner)

    # These are keys whose words say it all: transports and states.
    bare = {"tcp", "udp", "open", "filtered", "rejected", "intercepted", "untested", "unknown"}
    look(json.loads(report_schema.FILE.read_text(encoding="utf-8")))


@FEW
@given(REPORTS)
def test_every_report_is_as_its_schema_says(report: Report) -> None:
    report_schema.validate(json.loads(report_json.encode(report)))


@pytest.mark.parametrize("report", [test_goldens.FULL, test_goldens.EMPTY])
def test_the_goldens_are_too(report: Report) -> None:
    report_schema.validate(json.loads(report_json.encode(report)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "pnmcheck.report/2"),
        (("verdict",), "PASS"),
        (("elapsed_s",), -1),
        (("host",), "x" * 256),
        (("error",), {"code": "x"}),
        (("addresses", 0, "findings", 0, "first"), 0),
        (("addresses", 0, "findings", 0, "reason"), "rain"),
        (("addresses", 0, "findings", 0, "evidence", "sent"), 1.5),
        (("addresses", 0, "summary", "udp", "open"), "all"),
        (("addresses", 0, "sample"), {"ports": 1}),
    ],
)
def test_what_is_no_report_is_refused(path: tuple[Any, ...], value: object) -> None:
    report = copy.deepcopy(json.loads(report_json.encode(test_goldens.FULL)))
    place = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(AssertionError):
        report_schema.validate(report)
