"""The services of a docker-compose.yaml: what they are started with, and where their configuration is."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import Iterator, NoReturn, Sequence

from .flat_yaml import ITEM, Found, Path, Scalar, refuse
from .settings import Setting

_ENVIRONMENT, _VOLUMES = "environment", "volumes"
_LISTS = ("command", "entrypoint", _ENVIRONMENT, _VOLUMES, "env_file", "profiles")
_VALUES = ("image", "command", "entrypoint", "network_mode", "env_file")
# In their long forms these are of no use here, but no reason to refuse the file.
_LONG = ("env_file.[].path", "volumes.[].target")
_OPTION = re.compile(r"--?([a-z][\w.-]*)(?:=(.*))?", re.DOTALL)


def wanted(variables: Sequence[str]) -> list[str]:
    """What to read from the file: of what is in an environment, these alone."""
    return [f"services.*.{key}" for key in (*_VALUES, *(f"{key}.[]" for key in _LISTS), *_LONG,
                                            *(f"{_ENVIRONMENT}.{name}" for name in variables))]  # fmt: skip


@dataclass(frozen=True)
class Service:
    """A service of the file. UserError where what is asked for is not understood."""

    file: str
    name: str
    line: int  # of its image
    _found: Found

    def refuse(self, what: str) -> NoReturn:
        """Refuse the file for what is said, or not said, of this service."""
        refuse(self.file, self.line, f"the service {self.name} {what}")

    def _values(self, *keys: str) -> list[Scalar]:
        return self._found.get(("services", self.name, *keys), [])

    @property
    def has_env_file(self) -> bool:
        """Whether there are variables in another file."""
        return any(self._values("env_file", *more) for more in ((), (ITEM,), (ITEM, "path")))

    def options(self) -> dict[str, Setting]:
        """The flags that it is started with, by their names without dashes. One without a value is true."""
        words = [word for key in ("entrypoint", "command") for word in self._words(key)]
        found = {}
        for word, following in zip(words, [*words[1:], Scalar("-", 0)]):
            match = _OPTION.fullmatch(word.text)
            if match:
                value = "true" if following.text.startswith("-") else following.text
                value = value if match.group(2) is None else match.group(2)
                found[match.group(1)] = Setting(value, self.file, f"--{match.group(1)}", word.line)
        return found

    def _words(self, key: str) -> Iterator[Scalar]:
        yield from self._values(key, ITEM)
        for line in self._values(key):
            try:
                yield from (Scalar(word, line.line) for word in shlex.split(line.text))
            except ValueError:
                refuse(self.file, line.line, "a quote without its other")

    def variables(self, names: Sequence[str]) -> dict[str, Setting]:
        """The variables of its environment, of these names."""
        found = {name: one for name in names for one in self._values(_ENVIRONMENT, name)}
        for one in self._values(_ENVIRONMENT, ITEM):
            name, given, value = one.text.partition("=")
            if name in names:
                if not given:
                    refuse(self.file, one.line, f"{name} has its value from elsewhere")
                found[name] = Scalar(value, one.line)
        return {name: Setting(one.text, self.file, name, one.line) for name, one in found.items() if one.text}

    def on_host(self, path: str) -> str:
        """Where a file of the container is outside, by the volumes."""
        for one in self._values(_VOLUMES, ITEM):
            source, _, target = one.text.partition(":")
            target = target.partition(":")[0].rstrip("/")
            if source[:1] in (".", "/") and (path == target or path.startswith(target + "/")):
                return os.path.normpath(os.path.join(os.path.dirname(self.file), source, path[len(target) + 1 :]))
        self.refuse("has its configuration in no volume that is written HOST:CONTAINER")


def services(found: Found, file: str, image: str) -> list[Service]:
    """The services of an image, whatever its registry and version, that docker compose starts by itself."""
    pattern = re.compile(rf"(?:.*/)?{re.escape(image)}(?:[:@].*)?", re.DOTALL)
    images: list[tuple[Path, list[Scalar]]] = [
        (path, values) for path, values in found.items() if path[2:] == ("image",)
    ]
    all_of_it = [Service(file, path[1], values[0].line, found) for path, values in images
                 if pattern.fullmatch(values[0].text)]  # fmt: skip
    running = [one for one in all_of_it if ("services", one.name, "profiles", ITEM) not in found]
    for one in running:
        if [value.text for value in found.get(("services", one.name, "network_mode"), [])] != ["host"]:
            one.refuse("has a network of its own, so that its ports outside are not known")
    return running
