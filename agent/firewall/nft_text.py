"""Rules as nft prints them, from its JSON, which has no such text (libnftables-json(5))."""

from __future__ import annotations

from typing import Any, Callable

# A rule of a hundred addresses says nothing more by the last of them.
MAX_TEXT = 300
MAX_DEPTH = 8  # of expressions within each other; nft's own have three or four


def rule_text(expressions: Any) -> str:
    """A short, faithful rendering of any JSON: what is not known is shown by its keys."""
    words = [_statement(item) for item in expressions] if isinstance(expressions, list) else []
    text = " ".join(filter(None, words))
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _statement(item: Any) -> str:
    if not isinstance(item, dict) or len(item) != 1:
        return "?"
    ((name, value),) = item.items()
    write = _STATEMENTS.get(name)
    return write(value if isinstance(value, dict) else {}) if write else _plain(name, value)


def _plain(name: str, value: Any) -> str:
    if value is None:
        return name
    return f"{name} {_expression(value)}" if isinstance(value, (str, int)) else name


def _match(value: dict[str, Any]) -> str:
    sign = value.get("op")
    sign = "" if sign in ("==", "in") else f"{sign} "
    left, right = _expression(value.get("left")), _expression(value.get("right"))
    return f"{left} {sign}" + (f'"{right}"' if left in _BARE and right[:1] not in "{@" else right)


def _reject(value: dict[str, Any]) -> str:
    reason = " ".join(str(value[key]) for key in ("type", "expr") if isinstance(value.get(key), str))
    return f"reject with {reason}" if reason else "reject"


def _limit(value: dict[str, Any]) -> str:
    return f"limit rate {'over ' if value.get('inv') else ''}{value.get('rate')}/{value.get('per')}"


def _nat(name: str) -> Callable[[dict[str, Any]], str]:
    def write(value: dict[str, Any]) -> str:
        address, port = value.get("addr"), value.get("port")
        where = ("" if address is None else _expression(address)) + ("" if port is None else f":{_expression(port)}")
        return f"{name} to {where}" if where else name

    return write


def _log(value: dict[str, Any]) -> str:
    return f'log prefix "{value["prefix"]}"' if isinstance(value.get("prefix"), str) else "log"


_STATEMENTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "match": _match,
    "vmap": lambda value: f"{_expression(value.get('key'))} vmap {_expression(value.get('data'))}",
    "counter": lambda _: "counter",
    "jump": lambda value: f"jump {value.get('target')}",
    "goto": lambda value: f"goto {value.get('target')}",
    "reject": _reject,
    "limit": _limit,
    "log": _log,
    "dnat": _nat("dnat"),
    "snat": _nat("snat"),
    "redirect": _nat("redirect"),
    "tproxy": _nat("tproxy"),
    "mangle": lambda value: f"{_expression(value.get('key'))} set {_expression(value.get('value'))}",
    "set": lambda value: f"{value.get('op')} {value.get('set')} {{ {_expression(value.get('elem'))} }}",
    "xt": lambda value: f"xt {value.get('type')} {value.get('name')}",
}


def _expression(value: Any, depth: int = 0) -> str:
    if depth > MAX_DEPTH:
        return "…"

    def write(inner: Any) -> str:
        return _expression(inner, depth + 1)

    def all_of(items: Any, between: str) -> str:
        return between.join(map(write, items[:MAX_TEXT] if isinstance(items, list) else [items]))

    if not isinstance(value, dict):
        return all_of(value, ",") if isinstance(value, list) else "missing" if value is False else str(value)[:MAX_TEXT]
    name, inner = next(iter(value.items()), ("?", None))
    if name == "set":
        return f"{{ {', '.join(map(_element, inner[:MAX_TEXT] if isinstance(inner, list) else [inner]))} }}"
    if name in _BETWEEN:
        return all_of(inner, _BETWEEN[name])
    fields = inner if isinstance(inner, dict) else {}
    if name == "payload" and "field" in fields:
        return f"{fields.get('protocol')} {fields['field']}"
    if name == "meta":
        key = str(fields.get("key"))
        return key if key in _BARE else f"meta {key}"
    if name == "ct":
        return " ".join(["ct", *(str(fields[key]) for key in ("dir", "key") if key in fields)])
    if name == "fib":
        return f"fib {all_of(fields.get('flags'), ' . ')} {fields.get('result')}"
    if name == "prefix":
        return f"{fields.get('addr')}/{fields.get('len')}"
    if name == "elem" and "val" in fields:
        return write(fields["val"])
    if name == "map":
        return f"{write(fields.get('key'))} map {write(fields.get('data'))}"
    return str(name)


def _element(item: Any) -> str:
    """Of a set a value, of a map two with a colon."""
    if isinstance(item, list) and len(item) == 2:
        verdict = _statement(item[1]) if isinstance(item[1], dict) and "concat" not in item[1] else _expression(item[1])
        return f"{_expression(item[0])} : {verdict}"
    return _expression(item)


_BETWEEN = {"range": "-", "concat": " . ", "&": " & ", "|": " | "}
_BARE = frozenset(("iifname", "oifname", "iif", "oif"))
