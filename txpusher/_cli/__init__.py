"""
The command line: ``txpusher serve`` and ``txpusher demo``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from time import strftime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from txpusher._version import __version__
from txpusher.errors import ConfigurationError, PusherError
from txpusher.server import Activity, App, ChannelsServer

DEFAULT_APP = "app-id:app-key:app-secret"
_MOST_DATA = 120

#: Prints a line.
Show = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command, and return its exit code.

    :param argv: The arguments, by default those of the process.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    if sys.stdout is None:
        # It was closed before the program began.
        return _fail("cannot write: there is no standard output")
    try:
        return command(arguments)
    except PusherError as error:
        return _fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="txpusher", description="Pusher Channels for Twisted: a server to develop with."
    )
    parser.add_argument("--version", action="version", version=f"txpusher {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run a Channels server, for development",
        description="Run a Channels server for development: one process, in memory.",
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="the IP address to listen on (%(default)s)"
    )
    serve.add_argument("--port", type=_port, default=6001, help="the TCP port (%(default)s)")
    serve.add_argument(
        "--app",
        action="append",
        dest="apps",
        type=_app,
        metavar="ID:KEY:SECRET",
        help=f"an app; may be given several times ({DEFAULT_APP})",
    )
    serve.add_argument(
        "--webhook",
        action="append",
        dest="webhooks",
        default=[],
        metavar="URL",
        help="a URL that is told what happens; may be given several times",
    )
    serve.set_defaults(command=_serve)
    demo = commands.add_parser(
        "demo",
        help="publish to a server in this process, and watch the events arrive",
        description="Start a server, subscribe, publish in three ways, and show what arrives.",
    )
    demo.set_defaults(command=_demo)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _app(text: str) -> tuple[str, str, str]:
    parts = text.split(":", 2)
    if len(parts) != 3 or not all(parts):
        # What was given is not quoted: it may hold a secret.
        raise argparse.ArgumentTypeError("it must be ID:KEY:SECRET")
    return parts[0], parts[1], parts[2]


# serve


def _serve(arguments: argparse.Namespace) -> int:
    apps = [
        App(*parts, webhooks=arguments.webhooks)
        for parts in arguments.apps or [_app(DEFAULT_APP)]
    ]
    server = ChannelsServer(apps)
    host, port = arguments.host, arguments.port

    async def run(reactor: Any, show: Show) -> int:
        # Ends with the reactor, which a signal stops.
        server.add_observer(lambda it: show(f"{strftime('%H:%M:%S')}  {_line(it)}"))
        await server.listen(port, host, reactor)
        reactor.addSystemEventTrigger("before", "shutdown", server.stop)
        for app in apps:
            show(f"Ready: PUSHER_URL={server.url(app.id)}")
        show(f"For pusher-js: wsHost={server.host} wsPort={server.port}, forceTLS=false")
        await Deferred()
        return 0

    try:
        return _run(run) or 0
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        return _fail(f"cannot listen on {host}:{port}: {reason}")


def _line(activity: Activity) -> str:
    """What happened, as a line for people."""
    parts = [activity.kind.replace("_", " ").ljust(14)]
    if activity.app_id:
        parts.append(f"app {activity.app_id}")
    if activity.channel is not None:
        parts.append(activity.channel)
    if activity.event is not None:
        parts.append(activity.event)
    if activity.data is not None:
        more = "..." if len(activity.data) > _MOST_DATA else ""
        parts.append(activity.data[:_MOST_DATA] + more)
    if activity.user_id is not None:
        parts.append(f"user {activity.user_id}")
    if activity.socket_id is not None:
        parts.append(f"{'not to' if activity.kind == 'event' else 'by'} {activity.socket_id}")
    if activity.detail is not None:
        parts.append(activity.detail)
    # Names and data come from anyone: they are not to steer the terminal.
    return "".join(
        char if char.isprintable() else repr(char)[1:-1] for char in "  ".join(parts)
    )


# demo


def _demo(arguments: argparse.Namespace) -> int:
    for module in ("wsproto", "nacl", "twisted.web.websocket"):
        if find_spec(module) is None:
            raise ConfigurationError(
                f"the demo needs {module}, which is not installed: "
                "pip install 'txpusher[server]'"
            )
    from txpusher._cli.demo import Demo, wants_colours

    colours = wants_colours(sys.stdout)
    code = _run(lambda reactor, show: Demo(reactor, show, colours).run())
    return _fail("interrupted before every event had arrived") if code is None else code


# What both need


def _run(begin: Callable[[Any, Show], Awaitable[int]]) -> int | None:
    """
    Run the reactor until *begin* is done, a signal comes or nothing more can be shown.

    :return: What *begin* gave, None where a signal came first.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    _log_problems()
    results: list[int | Failure] = []
    running: Deferred[int]

    def start() -> None:
        nonlocal running
        running = Deferred.fromCoroutine(run())
        running.addBoth(finish)

    async def run() -> int:
        return await begin(reactor, show)

    def show(text: str) -> None:
        if results:
            return
        try:
            _print(text)
        except OSError as error:
            results.append(_cannot_write(error))
            # Later, when it waits for something: it is what shows the text.
            reactor.callLater(0, lambda: running.cancel())

    def finish(result: int | Failure) -> None:
        results.append(result)
        # A signal may have come first.
        with suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    result = results[0] if results else None
    if isinstance(result, Failure):
        result.raiseException()
        raise AssertionError("unreachable")
    return result


def _log_problems() -> None:
    """What the program should not have come to, on the standard error."""
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def _cannot_write(error: OSError) -> int:
    """The exit code where the standard output takes no more."""
    # What is left in the buffer would fail once more as the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        # Whoever read has seen enough, as ``head`` has.
        return 1
    return _fail(f"cannot write: {error.strerror or error}")


def _fail(message: str) -> int:
    print(f"txpusher: {message}", file=sys.stderr)
    return 1
