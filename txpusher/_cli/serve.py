"""
``txpusher serve``: a Channels server for development, which prints what happens on it.
"""

from __future__ import annotations

import argparse
import json
from time import strftime
from typing import TYPE_CHECKING, Any

from txpusher._cli.codes import fail
from txpusher._cli.output import printable
from txpusher._cli.parser import add_command

if TYPE_CHECKING:
    from txpusher._cli.program import Show
    from txpusher.server import Activity, App

DEFAULT_APP = "1:app-key:app-secret"
#: Characters of an event's data in one line.
_DATA_SHOWN = 120


def add_parser(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    parser = add_command(
        commands,
        "serve",
        serve,
        summary="run a Channels server, for development",
        description="Run a Channels server for development: one process, in memory.",
    )
    add_options(parser)


def add_options(parser: Any) -> None:
    """Add the options of the server to a parser."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="the IP address to listen on (%(default)s)"
    )
    parser.add_argument("--port", type=_port, default=6001, help="the TCP port (%(default)s)")
    parser.add_argument(
        "--app",
        action="append",
        dest="apps",
        type=_app,
        metavar="ID:KEY:SECRET",
        help=f"an app; may be given several times ({DEFAULT_APP})",
    )
    parser.add_argument(
        "--webhook",
        action="append",
        dest="webhooks",
        default=[],
        metavar="URL",
        help="a URL to send webhooks to; may be given several times",
    )


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


def serve(arguments: argparse.Namespace) -> int:
    """Run the server until a signal comes, and return the exit code."""
    from txpusher._cli.program import Program

    return Program(Serving(arguments, apps_of(arguments)).run).run()


def apps_of(arguments: argparse.Namespace) -> list[App]:
    """
    Return the apps of ``--app``, or the default one.

    :raises ConfigurationError: An app or a webhook is malformed.
    """
    from txpusher.server import App

    return [
        App(*parts, webhooks=arguments.webhooks)
        for parts in arguments.apps or [_app(DEFAULT_APP)]
    ]


class Serving:
    """
    A server that runs until it is cancelled, and prints what happens.

    :param apps: The apps that it serves.
    """

    def __init__(self, arguments: argparse.Namespace, apps: list[App]) -> None:
        self._arguments = arguments
        self._apps = apps

    async def run(self, reactor: Any, show: Show) -> int:
        """Run the server, and return the exit code where it cannot listen."""
        from twisted.internet.defer import Deferred
        from twisted.internet.error import CannotListenError

        from txpusher.server import ChannelsServer

        host, port = self._arguments.host, self._arguments.port
        server = ChannelsServer(self._apps)
        server.add_observer(lambda activity: self.tell(activity, show))
        try:
            await server.listen(port, host, reactor)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            return fail(f"cannot listen on {host}:{port}: {reason}")
        try:
            for app in self._apps:
                show(f"Ready: PUSHER_URL={server.url(app.id)}")
            for app in self._apps:
                show(f"In pusher-js: {pusher_js(app.key, server.host, server.port)}")
            self.begun(reactor, show)
            await Deferred()
        finally:
            await server.stop()
        return 0

    def tell(self, activity: Activity, show: Show) -> None:
        """Print what has happened on the server."""
        show(f"{strftime('%H:%M:%S')}  {line_of(activity)}")

    def begun(self, reactor: Any, show: Show) -> None:
        """Take note that the server listens."""


def pusher_js(key: str, host: str, port: int) -> str:
    """
    Return the line of JavaScript that connects pusher-js to the server, and to it alone.

    pusher-js refuses settings without a cluster.  With other transports than WebSocket it
    would turn to the hosted service, key and channel names included, where the local server
    does not answer.
    """
    where = f"[{host}]" if ":" in host else host
    return (
        f"new Pusher({json.dumps(key)}, {{wsHost: {json.dumps(where)}, wsPort: {port}, "
        'forceTLS: false, enabledTransports: ["ws"], cluster: ""})'
    )


def line_of(activity: Activity) -> str:
    """Return what happened as a line for people."""
    parts = [activity.kind.replace("_", " ").ljust(14)]
    if activity.app_id:
        parts.append(f"app {activity.app_id}")
    if activity.channel is not None:
        parts.append(activity.channel)
    if activity.event is not None:
        parts.append(activity.event)
    if activity.data is not None:
        more = "..." if len(activity.data) > _DATA_SHOWN else ""
        parts.append(activity.data[:_DATA_SHOWN] + more)
    if activity.user_id is not None:
        parts.append(f"user {activity.user_id}")
    if activity.socket_id is not None:
        parts.append(f"{'not to' if activity.kind == 'event' else 'by'} {activity.socket_id}")
    if activity.detail is not None:
        parts.append(activity.detail)
    # Names and data come from anyone: they are not to steer the terminal.
    return printable("  ".join(parts))
