"""Arguments in, exit status out; the only file that prints."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
from typing import IO, TYPE_CHECKING, Any, Callable, Iterator, NoReturn, Sequence

from .. import __version__
from ..core.address import Address, Family
from ..core.errors import Exit, UsageError, UserError
from ..core.plan import ADDONS, PLANS, Transport, build_plan
from ..core.ports import HIGHEST, LOWEST, parse_ports
from ..output.style import MAX_WIDTH, MIN_WIDTH, Style

if TYPE_CHECKING:
    from ..client.check import Progress
    from ..config.model import Installed
    from ..core.events import Event
    from ..core.report import Report

# The agents and the renderers are imported where they are used: `--help` need not wait for what it does not need.

# Where a key is not seen by others on the same machine, as it is in a command line.
_KEY_VARIABLE = "PNMCHECK_KEY"
# Plans that are read from this machine's configuration.
_INSTALLED, _LIVEKIT = "installed", "livekit"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
# A day: longer than any check, short enough that nobody forgets ten thousand open ports for good.
_MAX_SECONDS = 24 * 3600
# How long the server runs unless it is told. Where it stops services calls are cut meanwhile, so that is no longer than
# somebody needs to start the client.
_RUN_SECONDS, _PAUSE_SECONDS = 3600.0, 600.0
# More probes a second than any sweep sends, and more ports than there are: who writes more has mistyped.
_MAX_COUNT = 1_000_000
# Characters written at a time: a pipe takes 4,096 bytes whole or not at all (pipe(7)). Of more, a signal may leave a
# part, and an unbuffered stream (PYTHONUNBUFFERED) loses the rest.
_PIECE = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. Whatever goes wrong is told in words, never by a traceback."""
    try:
        arguments = _parse(argv)
        _catch_signals()
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except UserError as error:
        _tell_error(error)
        return error.status
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has gone; the interpreter must not stumble over it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INCONCLUSIVE
    except Exception as error:  # noqa: BLE001 - the last net: no traceback reaches a user
        _tell_error(_internal(error))
        return Exit.INCONCLUSIVE


class _Parser(argparse.ArgumentParser):
    """Errors in the form that all errors have, and no option by half its name: a later one may begin alike."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError("the command line is not understood", message, f"see `python3 {self.prog} --help`")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; HOSTs may stand behind options too, where argparse does not look for them."""
    parser = _parser()
    arguments, more = parser.parse_known_args(argv)
    if more and (arguments.command is not _client or any(word.startswith("-") for word in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        arguments.hosts += map(_host, more)
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pnmcheck.pyz", description="Checks every port of a WebRTC server from outside.")
    parser.add_argument("--version", action="version", version=f"pnmcheck {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    server = commands.add_parser("server", help="run on the server", description="Listens on every planned port.")
    server.set_defaults(command=_server)
    server.add_argument("--plan", metavar="PLAN", type=_plan, default="plugnmeet",
                        help="the ports to check: plugnmeet (default), as documented; installed, as this machine's "
                        "plugNmeet has them; livekit:FILE, as a LiveKit's configuration has them")  # fmt: skip
    server.add_argument("--with", dest="addons", action="append", default=[], choices=sorted(ADDONS),
                        help="add the ports of an optional service; may be given again")  # fmt: skip
    server.add_argument("--tcp", metavar="PORTS", help="your own TCP ports in place of the plan's: 80,443,7881")
    server.add_argument("--udp", metavar="PORTS", help="your own UDP ports: 50000-60000, or none")
    server.add_argument("--bind", metavar="ADDR", type=_address, help="listen on this address alone")
    server.add_argument("--control", metavar="PORT", type=_port, help="TCP port of the control channel")
    server.add_argument("--key", metavar="KEY", nargs="?", const="",
                        help="check only who has this pairing key, or one made now; also by PNMCHECK_KEY")  # fmt: skip
    services = server.add_mutually_exclusive_group()
    services.add_argument("--live", action="store_true",
                          help="stop nothing: of the media ports hold those that are free, half at a time")  # fmt: skip
    services.add_argument("--stop-services", action="store_true",
                          help="stop what holds the ports, for one check within 10m, and start it again")  # fmt: skip
    server.add_argument("--once", action="store_true", help="end after the first finished check")
    server.add_argument("--for", dest="seconds", metavar="TIME", type=_seconds,
                        help="how long to run: 90s, 10m, 1h (default)")  # fmt: skip
    server.add_argument("--offline", action="store_true",
                        help="ask neither LiveKit's STUN servers nor the DNS")  # fmt: skip
    server.add_argument("--yes", action="store_true", help="do not ask before stopping services")
    server.add_argument("--restore", action="store_true", help="start what an earlier run left stopped, and end")
    server.add_argument("--guardian", action="store_true", help=argparse.SUPPRESS)  # pause.py starts it
    server.add_argument("--json", action="store_true", help="one JSON object a line on stdout")

    client = commands.add_parser("client", help="run outside the firewall", description="Checks a server's ports.")
    client.set_defaults(command=_client)
    client.add_argument("hosts", metavar="HOST", nargs="+", type=_host, help="the server's names or addresses")
    client.add_argument("--control", metavar="PORT", type=_port, help="the server's --control port")
    client.add_argument("--key", metavar="KEY", help="the server's pairing key; also by PNMCHECK_KEY")
    family = client.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=Family.IPV4, help="IPv4 only")
    family.add_argument("-6", dest="family", action="store_const", const=Family.IPV6, help="IPv6 only")
    client.add_argument("--rate", metavar="N", type=_rate, help="send at most N UDP probes a second")
    client.add_argument("--sample", metavar="N", type=_sample,
                        help="of each range of UDP ports try only N at random, and its ends")  # fmt: skip
    client.add_argument("--json", action="store_true", help="the report as JSON")

    selftest = commands.add_parser("selftest", help="prove that this file works here",
                                   description="Runs both sides on this machine over loopback.")  # fmt: skip
    selftest.set_defaults(command=_selftest)
    selftest.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _plan(text: str) -> str:
    name, _, file = text.partition(":")
    if text not in (*PLANS, _INSTALLED) and not (name == _LIVEKIT and file):
        names = ", ".join((*sorted(PLANS), _INSTALLED, f"{_LIVEKIT}:FILE"))
        raise UsageError(f"--plan {text}", "there is no such plan", f"name one of {names}")
    return text


def _read(name: str) -> Installed | None:
    """What the configuration that a plan is read from says; None for a built-in one."""
    from ..config.installed import read_installed, read_livekit

    if name in PLANS:
        return None
    return read_installed() if name == _INSTALLED else read_livekit(name.partition(":")[2])


def _address(text: str) -> Address:
    import ipaddress

    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--bind {text}", "this is not an IP address", "give one of this machine's own") from None


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not LOWEST <= int(text) <= HIGHEST:
        raise UsageError(f"--control {text}", f"this is not a port from {LOWEST} to {HIGHEST}")
    return int(text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([smh]?)", text)
    seconds = int(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not 0 < seconds <= _MAX_SECONDS:
        raise UsageError(f"--for {text}", "this is no time from 1s to 24h", "write 90s, 10m or 1h")
    return float(seconds)


def _rate(text: str) -> float:
    return float(_count("--rate", text, "write --rate 2000"))


def _sample(text: str) -> int:
    return _count("--sample", text, "write --sample 300")


def _count(option: str, text: str, hint: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= _MAX_COUNT:
        raise UsageError(f"{option} {text}", f"this is not a whole number from 1 to {_MAX_COUNT:,}", hint)
    return int(text)


def _host(text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or len(host) > 255 or not re.fullmatch(r"[\w.:%-]+", host):
        raise UsageError(f"HOST '{text}'", "this is neither a name nor an address",
                         "give the server's name or IP address alone, without https:// or a port")  # fmt: skip
    if host.count(":") == 1:  # an IPv6 address has more
        name = host.partition(":")[0]
        raise UsageError(f"HOST '{text}'", "this names a port too", f"give {name} alone; --control names a port")
    try:
        host.encode("idna")
    except UnicodeError:
        raise UsageError(f"HOST '{text}'", "this is no name that the DNS could hold", "check the spelling") from None
    return host


def _key(argument: str | None) -> str | None:
    """The pairing key that was given, on the command line or else by the environment; None for none."""
    from ..core.errors import DecodeError
    from ..protocol import pairing

    # An empty argument is no key, as of a shell's variable with a typing error: who gives one means to be paired.
    text = (os.environ.get(_KEY_VARIABLE) or None) if argument is None else argument
    if text is None:
        return None
    try:
        return pairing.read_key(text)
    except DecodeError as error:  # without the key itself: terminals and logs keep what they are shown
        what, hint = (
            _KEY_VARIABLE if argument is None else "--key",
            "copy it whole as the server shows it, or choose a longer one",
        )
        raise UsageError(f"{what} is no pairing key", str(error), hint) from None


def _make_key() -> str:
    from ..protocol import pairing

    return pairing.make_key(os.urandom(pairing.KEY_BYTES))


def _server(arguments: argparse.Namespace) -> int:
    if arguments.guardian:
        from ..services.guardian import guard

        return guard()
    try:
        return _serve(arguments)
    except UserError as error:
        if arguments.json and not isinstance(error, UsageError):
            _print_json({"event": "stopped", "error": _error_json(error)})
        raise


def _serve(arguments: argparse.Namespace) -> int:
    from ..config.installed import find_installed
    from ..core.events import Reported
    from ..output import events, text
    from ..server.run import Options, Server
    from ..services import stop_list

    own = {name: None if text is None else parse_ports(text)
           for name, text in (("tcp", arguments.tcp), ("udp", arguments.udp))}  # fmt: skip
    read, unread = _read(arguments.plan), ""
    name, rows = arguments.plan.partition(":")[0], read.requirements if read else None
    plan = build_plan(name, arguments.addons, own["tcp"], own["udp"], read=rows)
    if not arguments.control and not plan.of(Transport.TCP):
        raise UsageError("no TCP port for the control channel", "the plan has none", "name one with --control PORT")
    key = _key(arguments.key or None)
    made = None if key or arguments.key is None else _make_key()
    stops = arguments.stop_services
    if stops and not arguments.yes and not sys.stdin.isatty():
        raise UsageError("--stop-services", "there is no terminal to ask at", "add --yes to have services stopped")
    seconds = arguments.seconds or (_PAUSE_SECONDS if stops else _RUN_SECONDS)
    installed = read
    if not read:
        installed, unread = find_installed()
    options = Options(
        plan, arguments.bind, arguments.control, arguments.once or stops, seconds, key or made,
        bool(key and not arguments.key), give_up_root=True, notes=read.notes if read else (), installed=installed,
        unread=unread, prechecks=sys.platform == "linux", offline=arguments.offline, live=arguments.live,
    )  # fmt: skip

    # Whatever is imported later than here may not be found: nobody may not read what only root may.
    def tell(notice: Event) -> None:
        if arguments.json:
            _print_json(events.to_json(notice))
        elif isinstance(notice, Reported):
            _print(text.render(notice.report, _style(sys.stdout)))
        else:
            _print(events.to_text(notice, _style(sys.stderr)), sys.stderr)

    def serve() -> Exit:
        return Server(options, tell).run()

    if stops or arguments.restore:
        from ..services import stop

        if arguments.restore:
            return stop.restore_left(tell)
        return stop.paused(plan, seconds, tell, lambda: arguments.yes or _agreed(), serve)
    trouble = stop_list.trouble()
    if trouble:
        _tell_error(trouble)
    return serve()


def _agreed() -> bool:
    _print("Stop these services now? [y/N] ", sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _client(arguments: argparse.Namespace) -> int:
    from ..client.check import Options
    from ..core.report import MAX_HOSTS

    hosts = tuple(dict.fromkeys(arguments.hosts))
    if len(hosts) > MAX_HOSTS:
        raise UsageError(f"{len(hosts)} HOSTs", f"one check takes {MAX_HOSTS} at most", "check the others after it")
    options = Options(hosts, arguments.control, arguments.family, arguments.rate, arguments.sample, _key(arguments.key))
    return _check(options, arguments.json)


def _selftest(arguments: argparse.Namespace) -> int:
    from .selftest import serving

    with serving() as options:
        return _check(options, arguments.json)


def _check(options: Any, as_json: bool) -> int:
    from ..client.check import check
    from ..core import report as reports
    from ..output import text

    live = _Live(sys.stderr)
    try:
        report, interrupted = check(options, live.show)
    except Exception as error:  # noqa: BLE001 - whoever asked for JSON gets some
        report, interrupted = _failed(options.hosts, _internal(error)), False
    finally:
        live.clear()
    if report.error and not interrupted:
        _tell_error(UserError(report.error.code, report.error.message, "", report.error.hint))
    if as_json:
        _print(reports.dumps(report) + "\n")
    elif report.error and len(report.addresses) < 2 and not report.findings and not report.notes:
        _print(text.headline(report, _style(sys.stdout)) + "\n")
    else:
        _print(text.render(report, _style(sys.stdout)))
    return Exit.INTERRUPTED if interrupted else report.status


def _failed(hosts: tuple[str, ...], error: UserError) -> Report:
    from ..client.check import failed

    return failed(hosts, error)


class _Live:
    """One line on a terminal that says what is going on; nothing where there is no terminal."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._on = stream, stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = 0

    def show(self, progress: Progress) -> None:
        """Replace the line."""
        from ..output.progress import render

        if self._on:
            style = _style(self._stream, least=1)  # a line that wraps could not be replaced
            line = render(progress.doing, progress.done, progress.total, progress.left, style)
            self._write(line)

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._shown:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, line: str) -> None:
        # Spaces over what the last line had more: not every terminal on Windows knows how to clear a line.
        self._stream.write("\r" + line.ljust(self._shown))
        self._stream.flush()
        self._shown = len(line)


def _style(stream: IO[str], least: int = MIN_WIDTH) -> Style:
    """How to write to a stream, at least `least` columns wide."""

    terminal = stream.isatty()
    columns = min(_columns(stream), MAX_WIDTH) if terminal else MAX_WIDTH
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and os.name != "nt"
    unicode = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return Style(max(least, columns), unicode, colour)


def _columns(stream: IO[str]) -> int:
    """Of this stream's own terminal: the others may be files."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or MAX_WIDTH
    except (OSError, ValueError):
        return MAX_WIDTH


def _print(text: str, stream: IO[str] | None = None) -> None:
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "ascii"
    text = text.encode(encoding, "replace").decode(encoding)
    with _whole():
        for at in range(0, len(text), _PIECE):
            stream.write(text[at : at + _PIECE])
        stream.flush()


def _print_json(value: object) -> None:
    _print(json.dumps(value, separators=(",", ":")) + "\n")


def _tell_error(error: UserError) -> None:
    from ..output.events import error_text

    _print(error_text(error, _style(sys.stderr)), sys.stderr)


def _error_json(error: UserError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _internal(error: Exception) -> UserError:
    return UserError("internal", "pnmcheck made a mistake of its own", f"{type(error).__name__}: {error}",
                     "run it again; if it comes back, report it with the line above")  # fmt: skip


class _Writing:
    """Whether something is being written just now, and a signal came meanwhile."""

    now = interrupted = False


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Let a signal wait until a text is written whole; a second one does not, for nobody may be reading."""
    _Writing.now = True
    try:
        yield
    finally:
        _Writing.now = False
    if _Writing.interrupted:
        _Writing.interrupted = False
        raise KeyboardInterrupt


def _catch_signals() -> None:
    """The first SIGINT, SIGTERM or SIGHUP ends the command cleanly; those that follow do not disturb that."""
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [getattr(signal, name) for name in names]

    def end(number: int, frame: object) -> None:
        if _Writing.now and not _Writing.interrupted:
            _Writing.interrupted = True
            return
        for one in caught:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    for one in caught:
        if signal.getsignal(one) is not signal.SIG_IGN:  # nohup means it
            signal.signal(one, end)
