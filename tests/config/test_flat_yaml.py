from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any, Iterable, Iterator

import pytest

from agent.config.flat_yaml import ITEM, MAX_DEPTH, read_yaml
from agent.core.errors import UserError
from tests.config import mutations

# It brings no types.
yaml: Any = importlib.import_module("yaml")

DATA = Path(__file__).parent / "installed"
FILES = ("livekit.yaml", "docker-compose.yaml", "ingress.yaml", "sip.yaml")
WANTED = (
    "a", "b.c", "b.d", "b.l.[]", "s.*.v", "s.*.w.[]", "s.*.w.x",
    "port", "rtc.port_range_start", "rtc.port_range_end", "rtc.tcp_port", "turn.enabled", "turn.domain",
    "services.*.image", "services.*.command", "services.*.command.[]", "services.*.volumes.[]", "rtmp_port", "rtp_port",
)  # fmt: skip
WAYS = [tuple(ITEM if key == "[]" else key for key in path.split(".")) for path in WANTED]


def read(text: str) -> dict[str, list[str]]:
    return {
        ".".join(path).replace(ITEM, "[]"): [one.text for one in values]
        for path, values in read_yaml(text, "it.yaml", WANTED).items()
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\n", {"a": ["1"]}),
        ("---\na: 1\n", {"a": ["1"]}),
        ("--- # the only one\na: 1\n", {"a": ["1"]}),
        ("a: 1\r\nb:\r\n  c: 2\r\n", {"a": ["1"], "b.c": ["2"]}),
        ("  a: 1\n  b:\n     c: 2\n", {"a": ["1"], "b.c": ["2"]}),
        ("# first\na: 1 # one\n\n \t\n# last\n", {"a": ["1"]}),
        ("a: x#y\n", {"a": ["x#y"]}),
        ("a: http://x:1/#y\n", {"a": ["http://x:1/#y"]}),
        ("a: 'it''s # one'  # two\n", {"a": ["it's # one"]}),
        ('a: "x \\"y\\" \\\\ \\/ z: #"\n', {"a": ['x "y" \\ / z: #']}),
        ("\"a\": 1\n'b' :\n  c : 2\n", {"a": ["1"], "b.c": ["2"]}),
        ("a:\nb:\n", {}),
        ("a: ~\nb:\n  c: null\n  d: 'null'\n", {"b.d": ["null"]}),
        ("a: ''\n", {"a": [""]}),
        ("a: -1\nb:\n  c: --config x -y\n  d: :x\n", {"a": ["-1"], "b.c": ["--config x -y"], "b.d": [":x"]}),
        ("b:\n  l:\n    - x\n    - 'y: z'\n  c: 1\n", {"b.l.[]": ["x", "y: z"], "b.c": ["1"]}),
        ("b:\n  l:\n  - x\n  - y\n  c: 1\n", {"b.l.[]": ["x", "y"], "b.c": ["1"]}),
        ("b:\n  l: [x, \"y, z\", 'w']  # three\n", {"b.l.[]": ["x", "y, z", "w"]}),
        ("b:\n  l: [ x,y:1 , ]\n", {"b.l.[]": ["x", "y:1"]}),
        ("b:\n  l: []\n", {}),
        ("s:\n  one:\n    v: 1\n  'two.x':\n    w:\n      x: 2\n", {"s.one.v": ["1"], "s.two.x.w.x": ["2"]}),
        ("b.c: 1\nb:\n  d: 2\n", {"b.d": ["2"]}),
        # What nobody asks for may be of other kinds.
        ("z: {x: 1, y: [2, {z: '}'}], \"q\": 3}\na: 1\n", {"a": ["1"]}),
        ("z: |\n  a: 2\n   b\n\n  # c\n  \td\na: 1\n", {"a": ["1"]}),
        ("z: >-  # folded\n  {[\na: 1\n", {"a": ["1"]}),
        ("z:\n  - |+2\n   x: y\n  - - x\n    - y\n  -\n    - z\n  - p: q\n    r:\n    - s\na: 1\n", {"a": ["1"]}),
        ('z: "\\x41\\u0042"\na: 1\n', {"a": ["1"]}),
        ("a b c: 1\na: 1\n", {"a": ["1"]}),
        ("a: 1\nz: 2", {"a": ["1"]}),
    ],
)  # fmt: skip
def test_what_is_read(text: str, found: dict[str, list[str]]) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "line", "kind"),
    [
        ("", 1, "nothing stands in it"),
        ("# a: 1\n\n", 1, "nothing stands in it"),
        ("SECRET\n", 1, "neither a key"),
        ("a: 1\n- SECRET\n", 2, "indentation"),
        ("a: 1\n   b: SECRET\n", 2, "indentation"),
        ("b:\n    c: 1\n  d: SECRET\n", 3, "indentation"),
        ("  a: 1\nb: SECRET\n", 2, "indentation"),
        ("b:\n  l:\n    - x\n   - SECRET\n", 4, "indentation"),
        ("b:\n  l:\n    - x\n      SECRET\n", 4, "indentation"),
        ("a: SECRET\n  SECRET\n", 2, "several lines"),
        ("a:\n  SECRET\n", 2, "neither a key"),
        ("a: |\n  SECRET\n", 1, "several lines"),
        ("b: >\n  SECRET\n", 1, "several lines"),
        ("a: |x\n", 1, "several lines"),
        ("a: \"SECRET\n  x\"\n", 1, "several lines, or one that has to be quoted"),
        ("z: 'SECRET\na: 2\n'\n", 1, "several lines, or one that has to be quoted"),
        ("z: [SECRET,\n  x]\n", 1, "does not end in its line"),
        ("z: [SECRET, # ]\n  x]\n", 1, "does not end in its line"),
        ("z: {SECRET: 'x}\n", 1, "does not end in its line"),
        ("z: " + "[" * (MAX_DEPTH + 2) + "SECRET" + "]" * (MAX_DEPTH + 2) + "\n", 1, "does not end in its line"),
        ("z: [SECRET}\n", 1, "does not end in its line"),
        ("z: [SECRET] x\n", 1, "text behind"),
        ("z: 'SECRET' x\n", 1, "text behind"),
        ("a: 1\nz: 2\na: SECRET\n", 3, "stands twice"),
        ("a: 1\n\"a\": SECRET\n", 2, "stands twice"),
        ("b:\n  c: 1\n  c: SECRET\n", 3, "stands twice"),
        ("z: &SECRET x\n", 1, "anchor"),
        ("z: *SECRET\n", 1, "alias"),
        ("z: !SECRET x\n", 1, "tag"),
        ("z:\n  <<: SECRET\n", 2, "merge"),
        ("&SECRET z: x\n", 1, "anchor"),
        ("? SECRET\n: x\n", 1, "neither a key"),
        ("? z: SECRET\n", 1, "several lines"),
        ("@SECRET: x\n", 1, "quoted"),
        ("a: %SECRET\n", 1, "quoted"),
        ("a: - SECRET\n", 1, "quoted"),
        ("a: x: SECRET\n", 1, "quoted"),
        ("a: SECRET:\n", 1, "quoted"),
        ("a:\tSECRET\n", 1, "neither a key"),
        ("a: SECRET\tx\n", 1, "a tab"),
        ("b:\n\tc: SECRET\n", 2, "a tab"),
        ("a: 'SECRET\\x41'\nb:\n  c: \"\\x41\"\n", 3, "an escape"),
        ("\"\\x61\": SECRET\n", 1, "an escape"),
        ("a: SECRET\n--- \nb: 1\n", 2, "a second document"),
        ("a: SECRET\n...\n", 2, "a second document"),
        ("--- SECRET\n", 1, "a second document"),
        ("%YAML 1.2\n---\na: SECRET\n", 2, "a second document"),
        ("%SECRET\n", 1, "neither a key"),
        ("a: SEC\0RET\n", 1, "cannot be shown"),
        ("a: 1\nb: SECRET\rx\n", 2, "cannot be shown"),
        ("a: SECRET\x85\n", 1, "cannot be shown"),
        ("z: 1\na: SECRET", 2, "half written"),
        ("a:\n  x: SECRET\n", 2, "another kind"),
        ("a:\n  - SECRET\n", 2, "another kind"),
        ("a: [SECRET]\n", 1, "another kind"),
        ("a: {x: SECRET}\n", 1, "another kind"),
        ("b: SECRET\n", 1, "another kind"),
        ("b:\n  - SECRET\n", 2, "another kind"),
        ("b:\n  l: {x: SECRET}\n", 2, "another kind"),
        ("b:\n  l: [x, [SECRET]]\n", 2, "another kind"),
        ("b:\n  l: [x, , SECRET]\n", 2, "another kind"),
        ("b:\n  l: [x: SECRET]\n", 2, "another kind"),
        ("b:\n  l: [x:, SECRET]\n", 2, "quoted"),
        ("b:\n  l: [*SECRET]\n", 2, "alias"),
        ("b:\n  l:\n    - x: SECRET\n", 3, "another kind"),
        ("b:\n  l: SECRET\n", 2, "another kind"),
        ("s:\n  - v: SECRET\n", 2, "another kind"),
        ("z:" + " -" * (MAX_DEPTH + 2) + " SECRET\n", 1, "quoted"),
        ("z:\n" + "- " * (MAX_DEPTH + 2) + "SECRET\n", 2, "levels"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int, kind: str) -> None:
    with pytest.raises(UserError) as raised:
        read(text)
    assert raised.value.what == "it.yaml is not understood"
    assert raised.value.why.startswith(f"line {line}: ")
    assert kind in raised.value.why
    assert "SECRET" not in raised.value.message + raised.value.hint


def test_a_key_that_has_to_be_there() -> None:
    assert read_yaml("x:\n  rtc: 1\nrtc:\n", "it.yaml", [], ["rtc"]) == {}
    with pytest.raises(UserError, match="not understood") as raised:
        read_yaml("x:\n  rtc: 1\n", "it.yaml", [], ["rtc"])
    assert "no rtc" in raised.value.why


def flat(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, str):
        yield path, node
        return
    for key, one in node.items() if isinstance(node, dict) else ((ITEM, one) for one in node):
        yield from flat(one, (*path, key))


def leads(way: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(way) == len(path) and all(
        one == other or (one == "*" and other != ITEM) for one, other in zip(way, path)
    )


def compared(found: Iterable[tuple[tuple[str, ...], str]]) -> list[tuple[tuple[str, ...], str]]:
    """Without nulls, which BaseLoader does not tell from texts."""
    told = ((path, one) for path, one in found if one not in ("", "~", "null", "Null", "NULL"))
    return sorted(told, key=lambda one: one[0])


def ours(text: str) -> list[tuple[tuple[str, ...], str]] | None:
    """What is read behind the wanted keys; None where it is refused, of which nothing is shown."""
    try:
        found = read_yaml(text, "it.yaml", WANTED)
    except UserError as error:
        if "SECRET" in error.message + error.hint:
            raise AssertionError(error.message) from error
        return None
    return compared((path, one.text) for path, values in found.items() for one in values)


def theirs(text: str) -> list[tuple[tuple[str, ...], str]]:
    """What PyYAML reads there."""
    found = flat(yaml.load(text, Loader=yaml.BaseLoader))
    return compared((path, one) for path, one in found if any(leads(way, path) for way in WAYS))


@pytest.mark.parametrize("name", [*FILES, "all.yaml"])
def test_what_is_read_is_what_others_read(name: str) -> None:
    text = (DATA / name).read_text(encoding="utf-8")
    assert ours(text) == theirs(text)
    alike = strange = 0
    for changed in mutations.of(text, random.Random(name), 1000):
        found = ours(changed)
        if found is None:
            continue
        try:
            assert found == theirs(changed), changed
            alike += 1
        except yaml.YAMLError:  # they mind what nobody wants, too
            strange += 1
    assert alike > max(200, 5 * strange)
