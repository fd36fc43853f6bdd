"""What docker compose 2.40.3 and 5.6.1 tell about their files, and what this program reads there itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Callable

import pytest

from agent.config import compose
from agent.config.compose import read_compose, services_of_image
from agent.config.installed import read_installed
from agent.core.errors import UserError
from agent.system import commands
from agent.system.commands import CommandResult

DATA, PRINTED = Path(__file__).parent / "installed", Path(__file__).parent / "compose"
VERSIONS = ("2.40.3", "5.6.1")
Prints = Callable[[CommandResult], None]


@pytest.fixture
def at(tmp_path: Path) -> Path:
    for file in DATA.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Prints:
    """Sets what docker prints."""
    return lambda printed: monkeypatch.setattr(compose, "run_tool", lambda *_, **__: printed)


def printed(name: str, directory: Path) -> CommandResult:
    return CommandResult((PRINTED / name).read_text(encoding="utf-8").replace("@DIRECTORY@", str(directory)))


@pytest.mark.parametrize("version", VERSIONS)
def test_both_readers_agree_on_what_the_installer_writes(at: Path, docker: Prints, version: str) -> None:
    docker(CommandResult(None, "there is no docker here", missing=True))
    own = read_installed(str(at), str(at / "haproxy.cfg"), 4)
    docker(printed(f"installer-{version}.json", at))
    assert read_installed(str(at), str(at / "haproxy.cfg"), 4) == own
    assert read_compose(str(at))[0].root.line == 0  # it was docker compose's


@pytest.mark.parametrize("version", VERSIONS)
def test_override_files_variables_and_profiles(at: Path, docker: Prints, version: str) -> None:
    """As tests/config/compose/README.md has the files of which this was printed."""
    (at / "docker-compose.override.yml").touch()
    docker(printed(f"variables-{version}.json", at))
    document, unread = read_compose(str(at))
    (livekit,) = services_of_image(document, str(at), "livekit/livekit-server")
    flags = {name: flag.text for name, flag in livekit.flags().items()}
    assert flags == {"config": "/app/livekit.yaml", "node-ip": "203.0.113.77", "key": "a$b"}
    variables = livekit.variables(["LIVEKIT_RTC_TCP_PORT", "UDP_PORT", "SET", "NUM"])
    assert {name: variable.text for name, variable in variables.items()} == {
        "LIVEKIT_RTC_TCP_PORT": "7009", "UDP_PORT": "7882", "SET": "a$b", "NUM": "7",
    }  # fmt: skip
    assert livekit.host_path("/app/livekit.yaml") == str(at / "livekit.yaml")
    assert [len(services_of_image(document, str(at), f"livekit/{image}")) for image in ("ingress", "sip")] == [1, 0]
    assert (unread, livekit.has_env_file) == ((), False)
    assert livekit.flags()["node-ip"].file == f"{at}/docker-compose.yaml with docker-compose.override.yml"
    with pytest.raises(UserError) as raised:
        livekit.variables(["EMPTY"])
    assert raised.value.why == "EMPTY has its value from outside this file"


@pytest.mark.parametrize(
    "result",
    [
        CommandResult(None, "docker failed: unknown command: docker compose"),
        CommandResult(None, "docker failed: invalid interpolation format: SECRET"),
        CommandResult(None, "docker did not answer in 5 s"),
        CommandResult(""),
        CommandResult("{}"),
        CommandResult("[]"),
        CommandResult('{"services": []}'),
        CommandResult('{"services": {"livekit": null}}'),
        CommandResult("[" * 100_000),
        CommandResult('{"services": ' + '{"a":' * 100_000),
    ],
)
def test_what_is_no_project_leaves_it_to_this_programs_reader(at: Path, docker: Prints, result: CommandResult) -> None:
    (at / "docker-compose.override.yml").touch()
    docker(result)
    installed = read_installed(str(at), str(at / "haproxy.cfg"), 4)
    assert len(installed.requirements) == 10
    assert [note[: len(str(at)) + 45] for note in installed.notes] == [
        f"{at}/docker-compose.override.yml was not read, al"
    ]
    assert "SECRET" not in repr(installed)


def test_what_is_refused_has_no_line_and_no_value(at: Path, docker: Prints) -> None:
    text = printed("installer-5.6.1.json", at).output or ""
    docker(CommandResult(text.replace('"203.0.113.10"', '"203.0.113.10", "--udp-port", "SECRET"')))
    with pytest.raises(UserError) as raised:
        read_installed(str(at), str(at / "haproxy.cfg"), 4)
    assert raised.value.why == "--udp-port is not a number from 0 to 65535"


def test_how_docker_is_asked(at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no variable of this shell, whose COMPOSE_FILE or IP is not that of the unit that starts the services."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"open({str(tmp_path / 'asked')!r}, 'w').write(' '.join([*sys.argv[1:], *sorted(os.environ)]))\n"
        f"print(open({str(PRINTED / 'installer-5.6.1.json')!r}).read().replace('@DIRECTORY@', {str(at)!r}))\n"
    )
    (tools / "docker").chmod(0o755)
    monkeypatch.setattr(commands, "PATH", str(tools))
    monkeypatch.setenv("COMPOSE_FILE", "/other.yaml")
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert read_compose(str(at))[0].root.line == 0
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:6] == ["compose", "--project-directory", str(at), "config", "--format", "json"]
    assert {*asked[6:]} - {"LC_CTYPE"} == {"HOME", "LANGUAGE", "LC_ALL", "PATH"}


@pytest.mark.parametrize(
    ("volumes", "path"),
    [
        ("[.:/app]", "x.yaml"),
        ("[.:/app, ./conf:/app/conf, ./one.yaml:/app/x.yaml]", "one.yaml"),
        ("[./one.yaml:/app/x.yaml:ro, .:/app]", "one.yaml"),
        ("[data:/other, /app/y, ./a:/app/]", "a/x.yaml"),
        ("\n    - type: bind\n      source: ./b\n      target: /app", "b/x.yaml"),
    ],
)
def test_the_volume_that_is_mounted_nearest(tmp_path: Path, docker: Prints, volumes: str, path: str) -> None:
    docker(CommandResult(None))
    text = f"services:\n  a:\n    image: x\n    network_mode: host\n    volumes: {volumes}\n"
    (tmp_path / "docker-compose.yaml").write_text(text, encoding="utf-8")
    (service,) = services_of_image(read_compose(str(tmp_path))[0], str(tmp_path), "x")
    assert service.host_path("/app/x.yaml") == str(tmp_path / path)


@pytest.mark.parametrize("volumes", ["[]", "[data:/app]", "[data:/app/x.yaml, ./a:/app]", "[.:/ap]", "[/app]",
                                     "\n    - type: tmpfs\n      target: /app"])  # fmt: skip
def test_a_file_that_is_in_no_folder_of_this_machine(tmp_path: Path, docker: Prints, volumes: str) -> None:
    docker(CommandResult(None))
    text = f"services:\n  a:\n    image: x\n    network_mode: host\n    volumes: {volumes}\n"
    (tmp_path / "docker-compose.yaml").write_text(text, encoding="utf-8")
    (service,) = services_of_image(read_compose(str(tmp_path))[0], str(tmp_path), "x")
    with pytest.raises(UserError) as raised:
        service.host_path("/app/x.yaml")
    assert raised.value.why.startswith("line 3: the service a has its configuration in no file")


def test_a_variable_without_a_value_is_one_from_outside(tmp_path: Path, docker: Prints) -> None:
    docker(CommandResult(None))
    text = "services:\n  a:\n    image: x\n    network_mode: host\n    environment:\n      PORT:\n"
    (tmp_path / "docker-compose.yaml").write_text(text, encoding="utf-8")
    (service,) = services_of_image(read_compose(str(tmp_path))[0], str(tmp_path), "x")
    with pytest.raises(UserError) as raised:
        service.variables(["PORT"])
    assert raised.value.why == "line 6: PORT has its value from outside this file"
