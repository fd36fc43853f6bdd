"""The JSON Schema of the report: as a file for others, and as the codec's table says it."""

from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]

import build
from agent.core import codec
from agent.core.plan import Transport
from agent.core.report import State
from agent.core.report_json import SCHEMA

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535
LOWEST = 1

FILE = build.ROOT / "agent/core/report.schema.json"

_PORTS = {"type": "integer", "minimum": 0, "maximum": HIGHEST}
# What is written and not read back: no codec knows its shape.
_DERIVED = {
    "schema": {"const": SCHEMA},
    "sample": {
        "anyOf": [
            {"type": "object", "required": ["ports", "of"], "properties": {"ports": _PORTS, "of": _PORTS}},
            {"type": "null"},
        ]
    },
    "summary": {
        "type": "object",
        "required": [transport.value for transport in Transport],
        "properties": {
            transport.value: {"type": "object", "properties": {state.value: _PORTS for state in State}}
            for transport in Transport
        },
    },
}


def derive(kind: codec.Codec[Any]) -> dict[str, Any]:
    """The schema of what a codec writes."""
    if isinstance(kind, codec.Record):
        properties: dict[str, Any] = {}
        for key, inner in kind.keys.items():
            if inner.inline:
                properties.update(derive(inner)["properties"])
            else:
                properties[key] = _DERIVED[key] if isinstance(inner, codec.Derived) else derive(inner)
        return {"type": "object", "required": list(properties), "properties": properties}
    if isinstance(kind, codec.ListOf):
        return {"type": "array", "maxItems": kind.most, "items": derive(kind.codec)}
    if isinstance(kind, codec.Nullable):
        inner_schema = derive(kind.codec)
        if "enum" in inner_schema:
            return {"enum": [*inner_schema["enum"], None]}
        if inner_schema["type"] == "object" or not isinstance(inner_schema["type"], str):
            return {"anyOf": [inner_schema, {"type": "null"}]}
        return {**inner_schema, "type": [inner_schema["type"], "null"]}
    if isinstance(kind, codec.Choice):
        return {"enum": [member.value for member in kind.kind]}
    if isinstance(kind, codec.Boolean):
        return {"type": "boolean"}
    if isinstance(kind, codec.AddressText):
        return {"type": "string", "maxLength": 64}
    if isinstance(kind, codec.Text):
        return {"type": "string", "maxLength": kind.most}
    if isinstance(kind, (codec.Integer, codec.Number)):
        name = "integer" if isinstance(kind, codec.Integer) else "number"
        return {"type": name, "minimum": kind.least, "maximum": kind.most}
    raise TypeError(kind)


@functools.lru_cache(maxsize=None)
def validator() -> Any:
    """What holds a report against the file."""
    schema = json.loads(FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def validate(report: Any) -> None:
    """AssertionError where a report is not as its schema says, with the first fault and its place.

    Of an address with thousands of findings, each of which takes a millisecond, the first hundred.
    """
    if isinstance(report.get("addresses"), list):
        entries = [{**one, "findings": one["findings"][:100]} for one in report["addresses"]]
        report = {**report, "addresses": entries}
    error = jsonschema.exceptions.best_match(validator().iter_errors(report))
    assert error is None, f"{error.json_path}: {error.message[:300]}"
