"""What README.md tells people to type is typed here, from a copy of the archive, and what it shows is what they see."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, Sequence

import pytest

import agent
import build
from agent.core.plan import ADDONS
from agent.core.report import State
from tests import lab
from tests.systemd.parts import Terminal, own

pytestmark = pytest.mark.programs

README = (build.ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

NOT_RUN = ("./.ci/run",)  # this is what runs these tests
SELFTEST = "python3 dist/pnmcheck.pyz selftest"
SCP = "scp dist/pnmcheck.pyz root@SERVER:"
CURL = "curl -O https://YOUR-WEB-SPACE/pnmcheck.pyz"
COPY, PASTE = "base64 dist/pnmcheck.pyz", "base64 -d > pnmcheck.pyz"
SERVER = "sudo python3 pnmcheck.pyz server"
KEYED = f"{SERVER} --key"
STOPPING, RESTORE = f"{SERVER} --stop-services", f"{SERVER} --restore"
LIVE, LIVE_CLIENT = f"{SERVER} --live --control 9443", "python3 pnmcheck.pyz client SERVER --control 9443"
INSTALLED, LIVEKIT = "server --plan installed", "server --plan livekit:FILE"
NAMES = "client meet.example.com turn.example.com"
CLIENT, EXAMPLE = "python3 pnmcheck.pyz client SERVER", "python3 pnmcheck.pyz client meet.example.com"
PLANS = {
    "server --with sip": f"{lab.PLAN} tcp 5060-5061 udp 5060-5061,10000-20000",
    "server --tcp 443,7881 --udp 50000-60000": "tcp 443,7881 udp 50000-60000",
}
# What each comes to where all is open: its exit status, and how its report begins.
CHECKS = {"client SERVER --rate 2000": (0, "PASS"), "client SERVER --sample 300": (3, "INCONCLUSIVE")}
BUILD, BENCHMARK, FUZZ = "python3 build.py", "python3 -m tests.bench", "python3 -m tests.fuzz"
RUN = (
    SELFTEST, SCP, CURL, COPY, PASTE, SERVER, KEYED, STOPPING, RESTORE, LIVE, LIVE_CLIENT, INSTALLED, LIVEKIT, NAMES,
    CLIENT, EXAMPLE, *PLANS, *CHECKS, BUILD, BENCHMARK, FUZZ,
)  # fmt: skip

SSHD = """
ListenAddress {address}
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""
SSH = """
IdentityFile {keys}/user
UserKnownHostsFile {keys}/known
BatchMode yes
"""


def commands() -> Iterator[str]:
    """Every line of a block that is to be typed, and whatever else looks like a command: code of several words."""
    for language, text in BLOCK.findall(README):
        lines = [" ".join(line.split()) for line in text.splitlines()]
        yield from (line for line in lines if line) if language else (line[2:] for line in lines if line[:2] == "$ ")
    for code in re.findall(r"`([^`]+)`", BLOCK.sub("", README)):
        if len(code.split()) > 1:
            yield " ".join(code.split())


def test_every_command_is_run_here() -> None:
    assert sorted(set(commands())) == sorted([*RUN, *NOT_RUN])
    assert os.access(build.ROOT / NOT_RUN[-1], os.X_OK)


PAPERS = ("README.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md", "tests/bench/README.md")


@pytest.mark.parametrize("paper", PAPERS)
def test_links_lead_to_files(paper: str) -> None:
    path = build.ROOT / paper
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_the_readme_is_two_screens() -> None:
    assert len(README.splitlines()) <= 125


def test_versions_agree() -> None:
    """The program's, that of the newest release in the changelog, and pyproject.toml's."""
    changes = (build.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == agent.__version__
    project = (build.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.*)"$', project, re.MULTILINE) == [agent.__version__]


def test_the_tables_are_complete() -> None:
    states = README.partition("| state | meaning |")[2]
    assert re.findall(r"^\| (\w+) \|", states, re.MULTILINE) == [state.value for state in State]
    (addons,) = re.findall(r"optional service \((.*?)\)", README)
    assert sorted(re.findall(r"\w+", addons)) == sorted(ADDONS)


@pytest.fixture
def net() -> Iterator[lab.Lab]:
    with lab.lab() as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, archive: Path) -> Iterator[Path]:
    """A folder with the archive where the README has it, and nothing else, before and after."""
    folder = tmp_path / "here"
    (folder / "dist").mkdir(parents=True)
    shutil.copy(archive, folder / "dist")
    yield folder
    assert contents(folder) == ["dist", f"dist/{archive.name}"]


@pytest.fixture
def there(tmp_path: Path, archive: Path) -> Iterator[Path]:
    """An empty folder on another computer, to which the archive comes, and nothing else."""
    folder = tmp_path / "there"
    folder.mkdir()
    yield folder
    assert contents(folder) == [archive.name]
    assert (folder / archive.name).read_bytes() == archive.read_bytes()


@pytest.fixture
def copied(there: Path, archive: Path) -> Path:
    """The other computer's folder, with the archive in it already."""
    shutil.copy(archive, there)
    return there


def contents(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*"))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of whoever types; root, who runs this, may have no sudo."""
    path = os.environ["PATH"]
    if not shutil.which("sudo"):
        (tmp_path / "bin").mkdir()
        sudo = tmp_path / "bin" / "sudo"
        sudo.write_text('#!/bin/sh\nexec "$@"\n', encoding="ascii")
        sudo.chmod(0o755)
        path = f"{path}:{sudo.parent}"
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "NO_PROXY": "*"}


def typed(command: str) -> list[str | Path]:
    return ["sh", "-c", command]


def run_here(command: str, folder: Path, feed: str = "", **kw: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        typed(command),
        cwd=folder,
        input=feed,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        **kw,
    )


class Running:
    """A program that has told on stderr that it is ready."""

    def __init__(self, process: subprocess.Popen[str], ready: str) -> None:
        self._process, self.told = process, ""
        assert process.stderr
        while ready not in self.told:
            line = process.stderr.readline()
            assert line, self.told
            self.told += line

    def line(self) -> str:
        """The next line on stdout, once it is there."""
        assert self._process.stdout
        return str(self._process.stdout.readline())

    def press_ctrl_c(self) -> tuple[int, str, str]:
        """What a terminal does then; the exit status, what is on stdout, and the rest of stderr."""
        os.killpg(self._process.pid, signal.SIGINT)
        assert self._process.stdout
        assert self._process.stderr
        stdout, stderr = self._process.stdout.read(), self._process.stderr.read()
        return self._process.wait(20), stdout, stderr


@contextlib.contextmanager
def running(host: lab.Host, ready: str, argv: Sequence[str | Path], **kw: Any) -> Iterator[Running]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with host.popen(argv, start_new_session=True, **pipes, **kw) as process:

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        overdue = threading.Timer(60, kill)  # whoever reads from it then sees its end
        overdue.start()
        try:
            yield Running(process, ready)
        finally:
            overdue.cancel()
            kill()


def test_selftest(here: Path, env: dict[str, str]) -> None:
    done = run_here(SELFTEST, here, env=env)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "PASS", "")


def at_home(home: Path, settings: Path, *argv: str | Path) -> list[str | Path]:
    """A command for which root lives in that folder and may come in by key. The rest of the machine knows nothing of
    it: `ip netns exec` runs it with mounts of its own."""
    settings.mkdir()
    for name, row in (("passwd", f"root:x:0:0:root:{home}:/bin/sh"), ("shadow", "root:*:1::::::")):
        lines = Path("/etc", name).read_text(encoding="utf-8").splitlines()
        lines = [row, *(line for line in lines if not line.startswith("root:"))]
        (settings / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    script = """
        mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow &&
        mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"
    """
    return ["sh", "-c", script, settings, *argv]


def test_scp(net: lab.Lab, here: Path, there: Path, tmp_path: Path, env: dict[str, str]) -> None:
    lab.need("scp", "ssh-keygen", "sshd")
    keys, address = tmp_path / "keys", net.server.ipv4
    keys.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], timeout=120, check=True)
    (keys / "sshd_config").write_text(SSHD.format(address=address, keys=keys), encoding="utf-8")
    (keys / "known").write_text(f"{address} {(keys / 'host.pub').read_text(encoding='ascii')}", encoding="ascii")
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(SSH.format(keys=keys), encoding="utf-8")
    sshd: list[str | Path] = [str(shutil.which("sshd")), "-D", "-e", "-f", keys / "sshd_config"]
    with running(net.server, "Server listening", at_home(there, tmp_path / "server", *sshd)):
        command = at_home(home, tmp_path / "client", *typed(SCP.replace("SERVER", address)))
        done = net.client.run(command, cwd=here, env=env)
    assert done.returncode == 0, done.stderr


def test_curl(net: lab.Lab, here: Path, there: Path, env: dict[str, str]) -> None:
    lab.need("curl")
    command = CURL.replace("https", "http").replace("YOUR-WEB-SPACE", net.server.ipv4)
    web = typed("exec python3 -u -m http.server 80 >&2")
    with running(net.server, "Serving HTTP", web, cwd=here / "dist", env=env):
        done = net.client.run(typed(command), cwd=there, env=env)
    assert done.returncode == 0, done.stderr


def test_copy_and_paste(here: Path, there: Path) -> None:
    text = run_here(COPY, here).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert run_here(PASTE, there, text).returncode == 0


def test_server_and_client(net: lab.Lab, copied: Path, env: dict[str, str]) -> None:
    with running(net.server, "ctrl-C", shlex.split(SERVER), cwd=copied, env=env) as server:
        assert CLIENT.replace("SERVER", "HOST") in server.told
        done = net.client.run(typed(CLIENT.replace("SERVER", net.server.ipv4)), cwd=copied, env=env)
        begun = server.line()  # the server's report is there a little after the client's
        status, rest, stderr = server.press_ctrl_c()
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "PASS", "")
    assert (status, begun + rest) == (lab.INTERRUPTED, done.stdout)
    assert f"{net.client.ipv4} started a check" in stderr
    assert "Traceback" not in stderr


def test_server_and_client_with_a_key(net: lab.Lab, copied: Path, env: dict[str, str]) -> None:
    with running(net.server, "ctrl-C", shlex.split(KEYED), cwd=copied, env=env) as server:
        (shown,) = re.findall(r"^ +(python3 .*)", server.told, re.MULTILINE)
        done = net.client.run(typed(shown.replace("HOST", net.server.ipv4)), cwd=copied, env=env)
        server.press_ctrl_c()
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "PASS", "")
    assert ", paired;" in done.stdout


def masked(report: str) -> str:
    """The report without what no two checks have in common: figures, and the line breaks that depend on them."""
    report = re.sub(r"\b\d+(\.\d+){3}\b", "ADDRESS", " ".join(report.split()))
    report = re.sub(r"[\d,.]+ (?=m?s\b)", "TIME ", report)
    report = re.sub(r"(?<=pnmcheck )[\w.]+", "VERSION", report)
    return re.sub(r"no loss|loss \S+% to the server, \S+% back", "LOSS", report)


def test_the_example_is_what_the_program_shows(net: lab.Lab, copied: Path, env: dict[str, str]) -> None:
    (shown,) = [text.split("\n", 1)[1] for _, text in BLOCK.findall(README) if text.startswith(f"$ {EXAMPLE}\n")]
    net.client.knows({EXAMPLE.rpartition(" ")[2]: [net.server.ipv4]})
    net.server.rules("input", "udp dport 53000-53999 drop")
    with lab.server(net.server, copied / "pnmcheck.pyz"):
        done = net.client.run(typed(EXAMPLE), cwd=copied, env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert masked(done.stdout) == masked(shown)


def test_a_server_in_service(copied: Path, env: dict[str, str]) -> None:
    with own() as meet:

        def there(command: str) -> list[str | Path]:
            return typed(f"cd {shlex.quote(str(copied))} && exec {command}")

        terminal = Terminal()
        with terminal.start(meet.machine, there(STOPPING), env=env) as stopping:
            terminal.wait_for("[y/N]")
            terminal.type("y\n")
            terminal.wait_for("ctrl-C")
            done = meet.client.run(typed(CLIENT.replace("SERVER", meet.machine.ipv4)), cwd=copied, env=env)
            assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "PASS", "")
            assert stopping.wait() == 0, terminal.text
        terminal.close()
        assert "haproxy.service runs again" in terminal.text
        assert meet.runs()

        restored = meet.machine.run(there(RESTORE), env=env)
        assert (restored.returncode, restored.stderr) == (0, "Nothing to start: no service was left stopped.\n")

        terminal = Terminal()
        with terminal.start(meet.machine, there(LIVE), env=env) as live:
            terminal.wait_for("ctrl-C")
            assert LIVE_CLIENT.replace("SERVER", "HOST") in terminal.text
            done = meet.client.run(typed(LIVE_CLIENT.replace("SERVER", meet.machine.ipv4)), cwd=copied, env=env)
            assert "80, 443, 7881/tcp" in done.stdout, done.stderr
            assert " FAIL" not in done.stdout
            terminal.type("\x03")
            assert live.wait() == lab.INTERRUPTED
        terminal.close()
        assert meet.runs()


@pytest.mark.parametrize("command", [INSTALLED, LIVEKIT])
def test_plans_that_are_read(net: lab.Lab, copied: Path, tmp_path: Path, command: str) -> None:
    shape = Path(__file__).parent / "config" / "installed"
    config = shutil.copy(shape / "livekit.yaml", tmp_path / "livekit.yaml")
    script = 'mount -t tmpfs none /opt; cp -r "$0" /opt/plugNmeet; mount --bind "$0" /etc/haproxy; exec "$@"'
    arguments = command.replace("FILE", str(config)).split()[1:]
    with lab.server(
        net.server, copied / "pnmcheck.pyz", *arguments, prefix=["sh", "-ec", script, str(shape)]
    ) as server:
        sources = " ".join(row["source"] for row in server.listening["planned"])
    assert ("/etc/haproxy/haproxy.cfg" if command == INSTALLED else str(config)) in sources


def test_several_names(net: lab.Lab, copied: Path, env: dict[str, str]) -> None:
    net.client.knows({name: [net.server.ipv4] for name in NAMES.split()[1:]})
    with lab.server(net.server, copied / "pnmcheck.pyz"):
        done = net.client.run(typed(f"python3 pnmcheck.pyz {NAMES}"), cwd=copied, env=env)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "PASS", "")


@pytest.mark.parametrize("command", PLANS)
def test_other_plans(net: lab.Lab, copied: Path, command: str) -> None:
    with lab.server(net.server, copied / "pnmcheck.pyz", *command.split()[1:]) as server:
        rows = [*server.listening["listening"], *server.listening["untested"]]
    found = {(row["transport"], port) for row in rows for port in range(row["first"], row["last"] + 1)}
    assert found == set(lab.ports(PLANS[command]))


@pytest.mark.parametrize("command", CHECKS)
def test_other_checks(net: lab.Lab, copied: Path, env: dict[str, str], command: str) -> None:
    with lab.server(net.server, copied / "pnmcheck.pyz"):
        typing = typed(f"python3 pnmcheck.pyz {command.replace('SERVER', net.server.ipv4)}")
        done = net.client.run(typing, cwd=copied, env=env)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (*CHECKS[command], "")


def test_help_has_the_options(copied: Path) -> None:
    commands = ("server", "client", "selftest")
    texts = [run_here(f"python3 pnmcheck.pyz {command} --help", copied).stdout for command in commands]
    options = re.compile(r"(?<=[` ])--[a-z]+")
    assert set(options.findall(README)) <= set(options.findall(" ".join(texts)))


def test_build(tmp_path: Path, archive: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(build.ROOT / "agent", tree / "agent")
    shutil.copy(build.ROOT / "build.py", tree)
    done = run_here(BUILD, tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert build.differences(build.target(tree).read_bytes(), archive.read_bytes()) == []


def test_benchmark(env: dict[str, str]) -> None:
    lab.need("ip", "nft")
    few = f"{BENCHMARK} --ports 50000-50049 --runs 1 --cases open --tools pnmcheck"
    done = run_here(few, build.ROOT, env=env)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| \*\*pnmcheck\*\* \| [\d.]+ s, 0 wrong, \d+ packets \|$", done.stdout, re.MULTILINE)


def test_fuzz(env: dict[str, str]) -> None:
    here = {**env, "PATH": f"{os.path.dirname(sys.executable)}:{env['PATH']}"}
    done = run_here(f"{FUZZ} --inputs 300 stun icmp", build.ROOT, env=here)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| \*\*all\*\* \| \d+ \| .* \| 0 \|$", done.stdout, re.MULTILINE)
