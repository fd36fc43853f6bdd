from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import pytest

from agent.config.document import Node
from agent.config.flat_yaml import read_yaml
from agent.core.errors import UserError
from tests.config import mutations

# It brings no types.
yaml: Any = importlib.import_module("yaml")

DATA = Path(__file__).parent / "installed"
FILES = ("livekit.yaml", "docker-compose.yaml", "ingress.yaml", "sip.yaml")
UNREAD = object()


def plain(node: Node) -> Any:
    """As dicts, lists, texts and None; UNREAD for what is not read."""
    if node.unread:
        return UNREAD
    if isinstance(node.value, dict):
        return {key: plain(entry) for key, entry in node.value.items()}
    return list(map(plain, node.value)) if isinstance(node.value, list) else node.value


def nested(levels: int) -> Any:
    return {"k": nested(levels - 1)} if levels else "1"


def read(text: str) -> Any:
    return plain(read_yaml(text, "it.yaml").root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n", {"a": "1"}),
        ("---\na: 1\n", {"a": "1"}),
        ("--- # the only one\na: 1\n", {"a": "1"}),
        ("a: 1\r\nb:\r\n  c: 2\r\n", {"a": "1", "b": {"c": "2"}}),
        ("  a: 1\n  b:\n     c: 2\n", {"a": "1", "b": {"c": "2"}}),
        ("# first\na: 1 # one\n\n \t\n# last\n", {"a": "1"}),
        ("a: x#y\n", {"a": "x#y"}),
        ("a: http://x:1/#y\n", {"a": "http://x:1/#y"}),
        ("a: 'it''s # one'  # two\n", {"a": "it's # one"}),
        ('a: "x \\"y\\" \\\\ \\/ z: #"\n', {"a": 'x "y" \\ / z: #'}),
        ("\"a\": 1\n'b' :\n  c : 2\n", {"a": "1", "b": {"c": "2"}}),
        ("a:\nb:\n", {"a": None, "b": None}),
        ("a: ~\nb:\n  c: null\n  d: 'null'\n", {"a": None, "b": {"c": None, "d": "null"}}),
        ("a: ''\n", {"a": ""}),
        ("a: -1\nb: --config x -y\nc: :x\n", {"a": "-1", "b": "--config x -y", "c": ":x"}),
        ("b:\n  l:\n    - x\n    - 'y: z'\n  c: 1\n", {"b": {"l": ["x", "y: z"], "c": "1"}}),
        ("b:\n  l:\n  - x\n  - y\n  c: 1\n", {"b": {"l": ["x", "y"], "c": "1"}}),
        ("l: [x, \"y, z\", 'w']  # three\n", {"l": ["x", "y, z", "w"]}),
        ("l: [ x,y:1 , ]\nm: []\nn: {}\n", {"l": ["x", "y:1"], "m": [], "n": {}}),
        ("- x\n- y: 1\n  z: 2\n- - v\n  -\n    - w\n", ["x", {"y": "1", "z": "2"}, ["v", ["w"]]]),
        ("a b c: 1\na.b: 1\n", {"a b c": "1", "a.b": "1"}),
        ("".join(f"{'  ' * level}k:\n" for level in range(20)) + 40 * " " + "k: 1\n", nested(21)),
        # A block, an escape and a line without its end are refused only where they are needed.
        ("z: |\n  a: 2\n   b\n\n  # c\n  \td\na: 1\n", {"z": UNREAD, "a": "1"}),
        ("z: >-  # folded\n  {[\na: 1\n", {"z": UNREAD, "a": "1"}),
        ("z:\n  - |+2\n   x: y\n  - p: q\n    r:\n    - s\n", {"z": [UNREAD, {"p": "q", "r": ["s"]}]}),
        ('z: "\\x41\\u0042"\na: 1\n', {"z": UNREAD, "a": "1"}),
        ("a: 1\nz: 2", {"a": "1", "z": UNREAD}),
    ],
)  # fmt: skip
def test_what_is_read(text: str, expected: object) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "kind"),
    [
        ("", 1, "the file is empty"),
        ("# a: 1\n\n", 1, "the file is empty"),
        ("SECRET\n", 1, "neither `key: value`"),
        ("a: 1\n- SECRET\n", 2, "indentation"),
        ("a: 1\n   b: SECRET\n", 2, "indentation"),
        ("b:\n    c: 1\n  d: SECRET\n", 3, "indentation"),
        ("  a: 1\nb: SECRET\n", 2, "indentation"),
        ("b:\n  l:\n    - x\n   - SECRET\n", 4, "indentation"),
        ("b:\n  l:\n    - x\n      SECRET\n", 4, "indentation"),
        ("a: SECRET\n  SECRET\n", 2, "several lines"),
        ("a:\n  SECRET\n", 2, "neither `key: value`"),
        ("a: |x\n", 1, "several lines"),
        ("a: \"SECRET\n  x\"\n", 1, "several lines, or one that needs quotes"),
        ("z: 'SECRET\na: 2\n'\n", 1, "several lines, or one that needs quotes"),
        ("z: [SECRET,\n  x]\n", 1, "brackets"),
        ("z: [SECRET, # ]\n  x]\n", 1, "brackets"),
        ("z: {SECRET: 'x}\n", 1, "brackets"),
        ("z: " + "[" * 22 + "SECRET" + "]" * 22 + "\n", 1, "brackets"),
        ("z: [SECRET}\n", 1, "brackets"),
        ("a: {x: SECRET}\n", 1, "brackets"),
        ("b:\n  l: [x, [SECRET]]\n", 2, "brackets"),
        ("b:\n  l: [x, , SECRET]\n", 2, "brackets"),
        ("b:\n  l: [x: SECRET]\n", 2, "brackets"),
        ("z: [SECRET] x\n", 1, "text after"),
        ("z: 'SECRET' x\n", 1, "text after"),
        ("a: 1\nz: 2\na: SECRET\n", 3, "a duplicate key"),
        ("a: 1\n\"a\": SECRET\n", 2, "a duplicate key"),
        ("b:\n  c: 1\n  c: SECRET\n", 3, "a duplicate key"),
        ("z: &SECRET x\n", 1, "anchor"),
        ("z: *SECRET\n", 1, "alias"),
        ("z: !SECRET x\n", 1, "tag"),
        ("z:\n  <<: SECRET\n", 2, "merge"),
        ("&SECRET z: x\n", 1, "anchor"),
        ("? SECRET\n: x\n", 1, "neither `key: value`"),
        ("? z: SECRET\n", 1, "several lines"),
        ("@SECRET: x\n", 1, "needs quotes"),
        ("a: %SECRET\n", 1, "needs quotes"),
        ("a: - SECRET\n", 1, "needs quotes"),
        ("a: x: SECRET\n", 1, "needs quotes"),
        ("a: SECRET:\n", 1, "needs quotes"),
        ("a:\tSECRET\n", 1, "neither `key: value`"),
        ("a: SECRET\tx\n", 1, "a tab"),
        ("b:\n\tc: SECRET\n", 2, "a tab"),
        ("\"\\x61\": SECRET\n", 1, "an escape"),
        ("a: SECRET\n--- \nb: 1\n", 2, "a second document"),
        ("a: SECRET\n...\n", 2, "a second document"),
        ("--- SECRET\n", 1, "a second document"),
        ("%YAML 1.2\n---\na: SECRET\n", 2, "a second document"),
        ("%SECRET\n", 1, "neither `key: value`"),
        ("a: SEC\0RET\n", 1, "a control character"),
        ("a: 1\nb: SECRET\rx\n", 2, "a control character"),
        ("a: SECRET\x85\n", 1, "a control character"),
        ("b:\n  l: [x:, SECRET]\n", 2, "needs quotes"),
        ("b:\n  l: [*SECRET]\n", 2, "alias"),
        ("z:" + " -" * 22 + " SECRET\n", 1, "needs quotes"),
        ("z:\n" + "- " * 21 + "SECRET\n", 2, "more than 20 levels"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int, kind: str) -> None:
    with pytest.raises(UserError) as raised:
        read_yaml(text, "it.yaml")
    assert raised.value.what == "it.yaml is not understood"
    assert raised.value.why.startswith(f"line {line}: ")
    assert kind in raised.value.why
    assert "SECRET" not in raised.value.message + raised.value.hint


@pytest.mark.parametrize(
    ("text", "line", "kind"),
    [
        ("a: |\n  SECRET\n", 1, "several lines"),
        ("a: >\n  SECRET\n", 1, "several lines"),
        ('a: "SECRET\\x41"\n', 1, "an escape"),
        ("z: 1\na: SECRET", 2, "may be incomplete"),
        ("z: 1\na:", 2, "may be incomplete"),
        ("a:\n  x: SECRET\n", 2, "a different kind"),
        ("a:\n  - SECRET\n", 2, "a different kind"),
        ("a: [SECRET]\n", 1, "a different kind"),
        ("a: {}\n", 1, "a different kind"),
        ("b: SECRET\n", 1, "a different kind"),
        ("b:\n  - SECRET\n", 2, "a different kind"),
        ("b:\n  l:\n    x: SECRET\n", 3, "a different kind"),
        ("b:\n  l:\n    - x: SECRET\n", 3, "a different kind"),
        ("b:\n  l: SECRET\n", 2, "a different kind"),
        ("- SECRET\n", 1, "a different kind"),
    ],
)
def test_what_is_refused_where_it_is_needed(text: str, line: int, kind: str) -> None:
    document = read_yaml(text, "it.yaml")
    with pytest.raises(UserError) as raised:
        (document.text("a"), document.texts("b", "l"))
    assert raised.value.why.startswith(f"line {line}: ")
    assert kind in raised.value.why
    assert "SECRET" not in raised.value.message + raised.value.hint


def test_a_key_that_has_to_be_there() -> None:
    read_yaml("x:\n  rtc: 1\nrtc:\n", "it.yaml").require("rtc")
    for text in ("x:\n  rtc: 1\n", "- rtc\n"):
        with pytest.raises(UserError, match="not understood") as raised:
            read_yaml(text, "it.yaml").require("rtc")
        assert "no rtc" in raised.value.why


def read_or_refuse(text: str) -> Any:
    """The whole value; UNREAD where the text is refused, with no value in the error."""
    try:
        return read(text)
    except UserError as error:
        if "SECRET" in error.message + error.hint:
            raise AssertionError(error.message) from error
        return UNREAD


def agree(own: Any, other: Any) -> bool:
    """Whether two values are the same, but for unread ones, and for nulls, which PyYAML's BaseLoader reads as texts."""
    if own is UNREAD:
        return True
    if own is None:
        return other in ("", "~", "null", "Null", "NULL")
    if isinstance(own, dict):
        return isinstance(other, dict) and [*own] == [*other] and all(agree(own[key], other[key]) for key in own)
    if isinstance(own, list):
        return isinstance(other, list) and len(own) == len(other) and all(map(agree, own, other))
    return bool(own == other)


@pytest.mark.parametrize("name", [*FILES, "all.yaml"])
def test_pyyaml_reads_the_same(name: str) -> None:
    text = (DATA / name).read_text(encoding="utf-8")
    assert agree(read(text), yaml.load(text, Loader=yaml.BaseLoader))
    alike = strange = 0
    for changed in mutations.of(text, random.Random(name), 1000):
        value = read_or_refuse(changed)
        if value is UNREAD:
            continue
        try:
            assert agree(value, yaml.load(changed, Loader=yaml.BaseLoader)), changed
            alike += 1
        except yaml.YAMLError:  # it refuses more than what is wrong with the values
            strange += 1
    assert alike > max(200, 5 * strange)
