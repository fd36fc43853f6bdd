"""Read the services of a docker-compose.yaml: how each is started, and where its configuration is on this machine."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import Iterator, NoReturn, Sequence

from ..core.codec import load_object
from ..core.errors import DecodeError
from ..system.commands import run_tool
from ..system.files import read_configuration
from .document import Document, Node, refuse
from .flat_yaml import read_yaml
from .settings import Setting

# What docker compose reads beside docker-compose.yaml, or in its place.
_BESIDE = ("compose.yaml", "compose.yml", "docker-compose.override.yaml", "docker-compose.override.yml")
# docker finds its plugins by these. Of a shell's other variables the unit that starts the services has none.
_VARIABLES = ("HOME", "DOCKER_CONFIG")
_OPTION = re.compile(r"--?([a-z][\w.-]*)(?:=(.*))?", re.DOTALL)


def read_compose(directory: str) -> tuple[Document, tuple[str, ...]]:
    """Return the services as `docker compose config` tells them, else docker-compose.yaml alone, and what is unread.

    Docker compose 2 adds override files, .env, env_files, profiles and variables itself, and needs no Docker for that.
    What it prints when it fails is not shown, since it holds values.
    """
    file = os.path.join(directory, "docker-compose.yaml")
    text = read_configuration(file)
    beside = [name for name in _BESIDE if os.path.exists(os.path.join(directory, name))]
    listed = run_tool("docker", "compose", "--project-directory", directory, "config", "--format", "json",
                      variables={name: os.environ[name] for name in _VARIABLES if name in os.environ})  # fmt: skip
    root = _resolved(listed.output or "")
    if root:
        return Document(f"{file} with {beside[0]}" if beside else file, root), ()
    unread = (f"{directory}/{name} was not read, although docker compose uses it: ports may differ." for name in beside)
    return read_yaml(text, file), tuple(unread)


def _resolved(output: str) -> Node | None:
    """Return what docker compose tells, without the names of profiles: the services that it lists are those in use."""
    try:
        project = load_object(output)
        for service in project["services"].values():
            service.pop("profiles", None)
        return _node(project)
    except (DecodeError, TypeError, LookupError, AttributeError):
        return None


def _node(value: object) -> Node:
    if isinstance(value, dict):
        return Node(0, {key: _node(entry) for key, entry in value.items()})
    if isinstance(value, list):
        return Node(0, list(map(_node, value)))
    # It writes a dollar twice, so that its output could be read again.
    return Node(0, None if value is None else str(value).replace("$$", "$"))


@dataclass(frozen=True)
class Service:
    """A service of the file. Its methods raise UserError where they do not understand what they need."""

    directory: str
    name: str
    _document: Document

    def refuse(self, why: str) -> NoReturn:
        """Refuse the file for what is true of this service."""
        image = self._document.text("services", self.name, "image")
        refuse(self._document.file, image.line if image else 0, f"the service {self.name} {why}")

    @property
    def has_env_file(self) -> bool:
        """Return whether there are variables in another file."""
        return "env_file" in self._document.entries("services", self.name)

    def flags(self) -> dict[str, Setting]:
        """Return the flags that it is started with, by their names without dashes. One without a value is true."""
        words = [word for key in ("entrypoint", "command") for word in self._words(key)]
        flags = {}
        for (line, word), (_, following) in zip(words, [*words[1:], (0, "-")]):
            match = _OPTION.fullmatch(word)
            if match:
                value = "true" if following.startswith("-") else following
                value = value if match.group(2) is None else match.group(2)
                flags[match.group(1)] = Setting(value, self._document.file, f"--{match.group(1)}", line)
        return flags

    def _words(self, key: str) -> Iterator[tuple[int, str]]:
        path = ("services", self.name, key)
        if self._document.is_list(*path):
            yield from ((item.line, item.text) for item in self._document.texts(*path))
            return
        node = self._document.text(*path)
        try:
            yield from ((node.line, word) for word in shlex.split(node.text)) if node else ()
        except ValueError:
            refuse(self._document.file, node.line if node else 0, "an unclosed quote")

    def variables(self, names: Sequence[str]) -> dict[str, Setting]:
        """Return the variables of its environment that have one of these names, and a value."""
        path, file = ("services", self.name, "environment"), self._document.file
        if self._document.is_list(*path):  # of NAME=VALUE, or NAME alone
            pairs = [(item.line, *item.text.partition("=")) for item in self._document.texts(*path)]
            nodes = {name: Node(line, value if sign else None) for line, name, sign, value in pairs}
        else:
            nodes = self._document.entries(*path)
        wanted = {name: nodes[name] for name in names if name in nodes}
        for name, node in wanted.items():
            if not isinstance(node.value, str):
                refuse(file, node.line, f"{name} has its value from outside this file")
        return {name: Setting(node.text, file, name, node.line) for name, node in wanted.items() if node.text}

    def host_path(self, path: str) -> str:
        """Return where a file of the container is on this machine, by the volume that is mounted nearest to it."""
        mounts = {target.rstrip("/"): source for source, target in self._mounts()}
        target = max((mount for mount in mounts if f"{path}/".startswith(f"{mount}/")), key=len, default=None)
        if target is None or mounts[target][:1] not in (".", "/"):  # others are volumes that Docker keeps
            self.refuse("has its configuration in no file or folder of this machine (volumes, HOST:CONTAINER)")
        return os.path.normpath(os.path.join(self.directory, mounts[target], path[len(target) + 1 :]))

    def _mounts(self) -> Iterator[tuple[str, str]]:
        for volume in self._document.items("services", self.name, "volumes"):
            if isinstance(volume.value, dict):
                source, target = (volume.value.get(key, volume).text for key in ("source", "target"))
            else:
                source, target, *_ = volume.text.split(":") if ":" in volume.text else ("", volume.text)
            yield source, target


def services_of_image(document: Document, directory: str, image: str) -> list[Service]:
    """Return the services of an image, of any registry and version, that docker compose starts by itself.

    UserError where one has a network of its own, whose public ports are unknown.
    """
    pattern = re.compile(rf"(?:.*/)?{re.escape(image)}(?:[:@].*)?", re.DOTALL)
    services = []
    for name in document.entries("services"):
        service = Service(directory, name, document)
        named = document.text("services", name, "image")
        if named and pattern.fullmatch(named.text) and not document.items("services", name, "profiles"):
            mode = document.text("services", name, "network_mode")
            if not mode or mode.text != "host":
                service.refuse("has a network of its own, so its public ports are unknown")
            services.append(service)
    return services
