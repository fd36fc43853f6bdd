"""Run the commands: join the options with the server, the client, services and the renderers."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from ..core.errors import DecodeError, Exit, UsageError, UserError
from ..core.plan import PLANS, Transport, build_plan
from .parser import INSTALLED
from .terminal import LiveLine, internal_error, style_of, write, write_error, write_json

if TYPE_CHECKING:
    from ..client.check import Options as ClientOptions
    from ..core.events import Event
    from ..server.options import Options as ServerOptions

# What one command needs is imported in its function: another command need not wait for it.

# The environment is not seen by other users of the machine, as a command line is.
_KEY_VARIABLE = "PNMCHECK_KEY"
# How long the server runs by default. With --stop-services calls are cut meanwhile, so that is no longer than somebody
# needs to start the client.
_RUN_SECONDS, _STOP_SECONDS = 3600.0, 600.0


def _server(arguments: argparse.Namespace) -> int:
    if arguments.guardian:
        from ..services.guardian import guard

        return guard()
    try:
        return _serve(arguments)
    except UserError as error:
        if arguments.json and not isinstance(error, UsageError):
            write_json(
                {"event": "stopped", "error": {"code": error.code, "message": error.message, "hint": error.hint}}
            )
        raise


def _serve(arguments: argparse.Namespace) -> int:
    from ..server.run import Server
    from ..services import state_file

    options = _server_options(arguments)
    # From here to the end of the server nothing may be imported: without root this archive may be unreadable.
    show = _event_writer(arguments.json)
    if arguments.stop_services or arguments.restore:
        from ..services import pause, restore

        if arguments.restore:
            return restore.restore_left_stopped(show)
        return pause.serve_while_paused(
            options.plan,
            options.seconds,
            show,
            lambda: arguments.yes or _confirm(),
            lambda: Server(options, show).run(),
        )
    error = state_file.find_error()
    if error:
        write_error(error)
    return Server(options, show).run()


def _server_options(arguments: argparse.Namespace) -> ServerOptions:
    from ..config.installed import find_installed, read_installed, read_livekit
    from ..protocol import pairing
    from ..server.options import Options

    name, _, file = arguments.plan.partition(":")
    config = None if name in PLANS else read_installed() if name == INSTALLED else read_livekit(file)
    requirements = config.requirements if config else None
    plan = build_plan(name, arguments.addons, arguments.tcp, arguments.udp, read=requirements)
    if not arguments.control and not plan.of(Transport.TCP):
        raise UsageError("no TCP port for the control channel", "the plan has none", "choose one with --control PORT")
    given = _read_key(arguments.key or None)
    key = pairing.make_key(os.urandom(pairing.KEY_BYTES)) if arguments.key == "" and not given else given
    stops = arguments.stop_services
    if stops and not arguments.yes and not sys.stdin.isatty():
        raise UsageError("--stop-services", "there is no terminal to ask at", "add --yes to stop services unasked")
    installed, unread = (config, "") if config else find_installed()
    return Options(
        plan, arguments.bind, arguments.control,
        once=arguments.once or stops,
        seconds=arguments.seconds or (_STOP_SECONDS if stops else _RUN_SECONDS),
        key=key, key_known=bool(given and not arguments.key),
        drop_privileges=True,
        notes=config.notes if config else (), installed=installed, unread=unread,
        prechecks=sys.platform == "linux", offline=arguments.offline, live=arguments.live,
    )  # fmt: skip


def _event_writer(as_json: bool) -> Callable[[Event], None]:
    """Return the function that shows the server's events: reports on stdout, the rest on stderr, or all as JSON."""
    from ..core.events import ReportReceived
    from ..output import event_json, events, text

    def show(event: Event) -> None:
        if as_json:
            write_json(event_json.to_json(event))
        elif isinstance(event, ReportReceived):
            write(text.render(event.report, style_of(sys.stdout)))
        else:
            write(events.to_text(event, style_of(sys.stderr)), sys.stderr)

    return show


def _confirm() -> bool:
    write("Stop these services now? [y/N] ", sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _read_key(argument: str | None) -> str | None:
    """Return the pairing key of the command line, else of the environment, else None."""
    from ..protocol import pairing

    # An empty --key is an error, as from a misspelt shell variable: the user wanted a key.
    name, text = (_KEY_VARIABLE, os.environ.get(_KEY_VARIABLE) or None) if argument is None else ("--key", argument)
    try:
        return None if text is None else pairing.read_key(text)
    except DecodeError as error:  # does not quote the key: terminals and logs keep what they show
        hint = "copy the whole key as the server shows it, or choose a longer one"
        raise UsageError(f"{name} is no pairing key", str(error), hint) from None


def _client(arguments: argparse.Namespace) -> int:
    from ..client.check import Options
    from ..core.report import MAX_HOSTS

    hosts = tuple(dict.fromkeys(arguments.hosts))
    if len(hosts) > MAX_HOSTS:
        raise UsageError(f"{len(hosts)} HOSTs", f"one check takes {MAX_HOSTS} at most", "check the others afterwards")
    key = _read_key(arguments.key)
    options = Options(hosts, arguments.control, arguments.family, arguments.rate, arguments.sample, key)
    return _check(options, arguments.json)


def _selftest(arguments: argparse.Namespace) -> int:
    from .selftest import serving

    with serving() as (options, notes):
        return _check(options, arguments.json, notes)


def _check(options: ClientOptions, as_json: bool, notes: tuple[str, ...] = ()) -> int:
    """Run a check and write its report, with `notes` beside the report's own; return the exit status."""
    from ..client.check import check, failed
    from ..core import report_json
    from ..output import text

    line = LiveLine()
    try:
        report, interrupted = check(options, line.show)
    except Exception as error:  # noqa: BLE001 - with --json there is JSON on stdout whatever happens
        report, interrupted = failed(options.hosts, internal_error(error)), False
    finally:
        line.clear()
    report = replace(report, notes=(*report.notes, *notes))
    if report.error and not interrupted:
        write_error(UserError(report.error.code, report.error.message, "", report.error.hint))
    if as_json:
        write(report_json.encode(report) + "\n")
    elif report.error and len(report.addresses) < 2 and not report.findings and not report.notes:
        write(text.headline(report, style_of(sys.stdout)) + "\n")
    else:
        write(text.render(report, style_of(sys.stdout)))
    return Exit.INTERRUPTED if interrupted else report.status


# Each takes its options, and returns its exit status.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {"server": _server, "client": _client, "selftest": _selftest}
