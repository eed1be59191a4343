"""
``txpusher serve``: a Channels server for development, which prints what happens on it.
"""

from __future__ import annotations

import argparse
import json
from time import strftime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from txpusher._cli.program import Program, Show, fail
from txpusher.server import Activity, App, ChannelsServer

DEFAULT_APP = "1:app-key:app-secret"
#: Characters of an event's data in one line.
_DATA_SHOWN = 120


def add_parser(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    parser = commands.add_parser(
        "serve",
        help="run a Channels server, for development",
        description="Run a Channels server for development: one process, in memory.",
    )
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
    parser.set_defaults(command=serve)


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
    apps = [
        App(*parts, webhooks=arguments.webhooks)
        for parts in arguments.apps or [_app(DEFAULT_APP)]
    ]
    server = ChannelsServer(apps)
    host, port = arguments.host, arguments.port

    async def run(reactor: Any, show: Show) -> int:
        server.add_observer(
            lambda activity: show(f"{strftime('%H:%M:%S')}  {line_of(activity)}")
        )
        try:
            await server.listen(port, host, reactor)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            return fail(f"cannot listen on {host}:{port}: {reason}")
        try:
            for app in apps:
                show(f"Ready: PUSHER_URL={server.url(app.id)}")
            for app in apps:
                show(f"In pusher-js: {pusher_js(app.key, server.host, server.port)}")
            await Deferred()
        finally:
            await server.stop()
        return 0

    return Program(run).run()


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
    return "".join(
        char if char.isprintable() else repr(char)[1:-1] for char in "  ".join(parts)
    )
