"""Run the commands: join the options with the server, the client, services and the renderers."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from ..core.errors import Exit, UsageError, UserError
from ..core.plan import PLANS, Plan, Transport, build_plan
from ..core.ports import parse_ports
from .parser import INSTALLED
from .terminal import LiveLine, internal_error, style_of, write, write_error, write_json

if TYPE_CHECKING:
    from ..client.check import Options as ClientOptions
    from ..config.model import Installed
    from ..core.events import Event
    from ..server.options import Options as ServerOptions

# What one command needs is imported in its function: another command need not wait for it.

# The environment is not seen by other users of the machine, as a command line is.
_KEY_VARIABLE = "PNMCHECK_KEY"
# How long the server runs by default. With --stop-services calls are cut meanwhile, so that is no longer than somebody
# needs to start the client.
_RUN_SECONDS, _STOP_SECONDS = 3600.0, 600.0


def run(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed and return its exit status."""
    command: Callable[[argparse.Namespace], int] = _COMMANDS[arguments.command]
    return command(arguments)


def _server(arguments: argparse.Namespace) -> int:
    if arguments.guardian:
        from ..services.guardian import guard

        return guard()
    try:
        return _serve(arguments)
    except UserError as error:
        if arguments.json and not isinstance(error, UsageError):
            problem = {"code": error.code, "message": error.message, "hint": error.hint}
            write_json({"event": "stopped", "error": problem})
        raise


def _serve(arguments: argparse.Namespace) -> int:
    from ..server.run import Server
    from ..services import state_file

    options = _server_options(arguments)
    # From here to the end of the server nothing may be imported: without root this archive may be unreadable.
    show = _event_writer(arguments.json)

    def serve() -> Exit:
        return Server(options, show).run()

    if arguments.stop_services or arguments.restore:
        from ..services import pause, restore

        if arguments.restore:
            return restore.restore_left_stopped(show)
        confirm = _is_confirmed if not arguments.yes else lambda: True
        return pause.serve_while_paused(options.plan, options.seconds, show, confirm, serve)
    error = state_file.find_error()
    if error:
        write_error(error)
    return serve()


def _server_options(arguments: argparse.Namespace) -> ServerOptions:
    from ..config.installed import find_installed
    from ..protocol import pairing
    from ..server.options import Options

    config, unread = _read_config(arguments.plan), ""
    plan = _build_plan(arguments, config)
    given = _read_key(arguments.key or None)
    key = pairing.make_key(os.urandom(pairing.KEY_BYTES)) if arguments.key == "" and not given else given
    stops = arguments.stop_services
    if stops and not arguments.yes and not sys.stdin.isatty():
        raise UsageError("--stop-services", "there is no terminal to ask at", "add --yes to stop services unasked")
    installed = config
    if not config:
        installed, unread = find_installed()
    return Options(
        plan,
        arguments.bind,
        arguments.control,
        once=arguments.once or stops,
        seconds=arguments.seconds or (_STOP_SECONDS if stops else _RUN_SECONDS),
        key=key,
        key_known=bool(given and not arguments.key),
        drop_privileges=True,
        notes=config.notes if config else (),
        installed=installed,
        unread=unread,
        prechecks=sys.platform == "linux",
        offline=arguments.offline,
        live=arguments.live,
    )


def _read_config(plan: str) -> Installed | None:
    """Return the configuration that a plan is read from; None for a built-in plan."""
    from ..config.installed import read_installed, read_livekit

    if plan in PLANS:
        return None
    return read_installed() if plan == INSTALLED else read_livekit(plan.partition(":")[2])


def _build_plan(arguments: argparse.Namespace, config: Installed | None) -> Plan:
    tcp = None if arguments.tcp is None else parse_ports(arguments.tcp)
    udp = None if arguments.udp is None else parse_ports(arguments.udp)
    requirements = config.requirements if config else None
    plan = build_plan(arguments.plan.partition(":")[0], arguments.addons, tcp, udp, read=requirements)
    if not arguments.control and not plan.of(Transport.TCP):
        raise UsageError("no TCP port for the control channel", "the plan has none", "choose one with --control PORT")
    return plan


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


def _is_confirmed() -> bool:
    write("Stop these services now? [y/N] ", sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _read_key(argument: str | None) -> str | None:
    """Return the pairing key of the command line, else of the environment, else None."""
    from ..core.errors import DecodeError
    from ..protocol import pairing

    # An empty --key is an error, as from a misspelt shell variable: the user wanted a key.
    text = (os.environ.get(_KEY_VARIABLE) or None) if argument is None else argument
    if text is None:
        return None
    try:
        return pairing.read_key(text)
    except DecodeError as error:  # does not quote the key: terminals and logs keep what they show
        name = _KEY_VARIABLE if argument is None else "--key"
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

    line = LiveLine(sys.stderr)
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


_COMMANDS = {"server": _server, "client": _client, "selftest": _selftest}
