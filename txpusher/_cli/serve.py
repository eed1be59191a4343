"""
``txpusher serve``: a Channels server for development, which prints what happens on it.
"""

from __future__ import annotations

import argparse
import json
import os
from time import strftime, time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from txpusher._cli.codes import fail
from txpusher._cli.output import ndjson, printable
from txpusher._cli.parser import add_command
from txpusher._server_options import (
    APP_OPTIONS,
    APPS,
    CONSOLE_OPTIONS,
    DEFAULT_APP,
    PLACE_OPTIONS,
    SERVER_OPTIONS,
    TROUBLE,
    WEBHOOKS,
    Option,
    settings_of,
)

if TYPE_CHECKING:
    from txpusher._cli.listening import Place
    from txpusher._cli.program import Show
    from txpusher.server import Activity, App, ChannelsServer

_DESCRIPTION = """\
Run a Channels server for development: one process, in memory.

Each option may be an environment variable instead: TXPUSHER_PORT=7001 for
--port 7001, TXPUSHER_NO_CLIENT_EVENTS=1 for --no-client-events. What may be
given several times has spaces between there."""
#: The variable with the key of encrypted channels, which the page shows in clear then.
_MASTER_KEY = "PUSHER_ENCRYPTION_MASTER_KEY"
#: Characters of an event's data in one line.
_DATA_SHOWN = 120


def add_parser(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    parser = add_command(
        commands,
        "serve",
        serve,
        summary="run a Channels server, for development",
        description=_DESCRIPTION,
    )
    add_options(parser)


def add_options(parser: Any) -> None:
    """Add the options of the server to a parser; each may be in the environment instead."""
    groups = (
        ("where it listens", PLACE_OPTIONS),
        ("the apps", (APPS, WEBHOOKS, *APP_OPTIONS)),
        ("the server", (*SERVER_OPTIONS, *CONSOLE_OPTIONS, TROUBLE)),
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object per line, not text"
    )
    for title, options in groups:
        group = parser.add_argument_group(title)
        for option in options:
            _add(group, option)


def _add(group: Any, option: Option) -> None:
    if not option.metavar:
        group.add_argument(
            f"--{option.name}",
            dest=option.setting,
            action="store_const",
            const=option.on,
            help=option.help,
        )
        return

    def read(text: str) -> Any:
        try:
            return option.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    group.add_argument(
        f"--{option.name}",
        dest=_destination(option),
        action="append" if option.is_list else "store",
        default=[] if option.is_list else None,
        type=read,
        metavar=option.metavar,
        # A percent sign is argparse's own.
        help=option.help.replace("%", "%%"),
    )


def _destination(option: Option) -> str:
    # An app and the server have a setting of this name.
    return option.name.replace("-", "_") if option in SERVER_OPTIONS else option.setting


def given_settings(arguments: argparse.Namespace, *options: Option) -> dict[str, Any]:
    """
    Return the settings that the command line or the environment makes.

    :raises ConfigurationError: A variable of the environment is malformed.
    """
    given = {option.name: getattr(arguments, _destination(option)) for option in options}
    return settings_of(options, given, os.environ)


def serve(arguments: argparse.Namespace) -> int:
    """Run the server until a signal comes, and return the exit code."""
    from txpusher._cli.program import Program

    return Program(Serving(arguments, apps_of(arguments)).run).run()


def apps_of(arguments: argparse.Namespace) -> list[App]:
    """
    Return the apps of ``--app``, or the default one.

    :raises ConfigurationError: An app, a webhook or a variable of the environment is malformed.
    """
    from txpusher.server import App

    settings = given_settings(arguments, WEBHOOKS, *APP_OPTIONS)
    if os.environ.get(_MASTER_KEY):
        settings["encryption_master_key_base64"] = os.environ[_MASTER_KEY]
    apps = given_settings(arguments, APPS).get("apps") or [APPS.read(DEFAULT_APP)]
    return [App(*parts, **settings) for parts in apps]


class Serving:
    """
    A server that runs until it is cancelled, and prints what happens.

    :param apps: The apps that it serves.
    :raises ConfigurationError: A setting of the server is malformed.
    """

    def __init__(self, arguments: argparse.Namespace, apps: list[App]) -> None:
        self._arguments = arguments
        self._apps = apps
        self._is_json: bool = arguments.json
        # What is wrong with a setting is told before a reactor begins.
        self._server()

    async def run(self, reactor: Any, show: Show) -> int:
        """
        Run the server, and return the exit code where it cannot listen.

        :raises ConfigurationError: An option makes no sense.
        """
        from contextlib import ExitStack

        from twisted.internet.defer import Deferred

        from txpusher._cli.listening import Place
        from txpusher._cli.program import Gathered

        server = self._server()
        with ExitStack() as stack:
            lines = Gathered(reactor, show)
            stack.callback(lines.stop)
            server.add_observer(lambda activity: self.tell(activity, lines))
            place = Place.of(given_settings(self._arguments, *PLACE_OPTIONS), stack)
            problem = await place.listen(server, reactor)
            if problem is not None:
                return fail(problem)
            try:
                self._introduce(server, place, lines)
                self.begun(reactor, lines)
                await Deferred()
            finally:
                await server.stop()
        return 0

    def _server(self) -> ChannelsServer:
        from txpusher.server import ChannelsServer

        settings = given_settings(self._arguments, *SERVER_OPTIONS)
        server = ChannelsServer(self._apps, console=self._console(), **settings)
        wishes = given_settings(self._arguments, TROUBLE).get("trouble", {})
        for name, value in wishes.items():
            setattr(server.trouble, name, value)
        return server

    def _console(self) -> bool | list[str]:
        """Return the setting of the server for its console."""
        settings = given_settings(self._arguments, *CONSOLE_OPTIONS)
        return settings.get("console", True) and (settings.get("console_hosts") or True)

    def _introduce(self, server: ChannelsServer, place: Place, show: Show) -> None:
        """Print what clients need."""
        for app in self._apps:
            url_of_app = server.url(app.id)
            if self._is_json:
                show(ndjson({"kind": "ready", "app_id": app.id, "url": url_of_app}))
            else:
                show(f"Ready: PUSHER_URL={url_of_app}")
        if not self._is_json:
            self._introduce_to_people(server, place, show)

    def _introduce_to_people(self, server: ChannelsServer, place: Place, show: Show) -> None:
        try:
            port = server.port
        except RuntimeError as error:
            # Browsers have no way to get there.
            show(f"pusher-js cannot connect: {error}")
            return
        url = urlsplit(server.url(self._apps[0].id))
        prefix = url.path.rpartition("/apps/")[0]
        is_tls = url.scheme == "https"
        for app in self._apps:
            show(f"In pusher-js: {pusher_js(app.key, server.host, port, is_tls, prefix)}")
        for line in place.trust(f"https://{url.netloc.rpartition('@')[2]}/up"):
            show(line)
        if self._console():
            # Under another address the page answers to whom --console-host names.
            is_own = server.host in ("127.0.0.1", "::1")
            where = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{prefix}/"
            show(f"Console: {where if is_own else 'for the hosts that --console-host names'}")

    def tell(self, activity: Activity, show: Show) -> None:
        """Print what has happened on the server."""
        if self._is_json:
            show(object_of(activity, time()))
        else:
            show(f"{strftime('%H:%M:%S')}  {line_of(activity)}")

    def begun(self, reactor: Any, show: Show) -> None:
        """Take note that the server listens."""


def pusher_js(
    key: str, host: str, port: int, is_tls: bool = False, path_prefix: str = ""
) -> str:
    """
    Return the line of JavaScript that connects pusher-js to the server, and to it alone.

    pusher-js refuses settings without a cluster.  With other transports than WebSocket it
    would turn to the hosted service, key and channel names included, where the local server
    does not answer.
    """
    where = json.dumps(f"[{host}]" if ":" in host else host)
    path = f"wsPath: {json.dumps(path_prefix)}, " if path_prefix else ""
    name, tls = ("wssPort", "true") if is_tls else ("wsPort", "false")
    return (
        f"new Pusher({json.dumps(key)}, {{wsHost: {where}, {name}: {port}, {path}"
        f'forceTLS: {tls}, enabledTransports: ["ws"], cluster: ""}})'
    )


def object_of(activity: Activity, now: float) -> str:
    """
    Return what happened for programs, as a JSON object without the fields that are None.

    :param now: Seconds since the epoch.
    """
    fields = attrs.asdict(activity, filter=lambda attribute, value: value is not None)
    return ndjson({"time": round(now, 3), **fields})


def line_of(activity: Activity) -> str:
    """
    Return what happened as a line for people.

    Below the line of a request that was refused stands, indented, what else the answer says.
    """
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
    lines = [printable("  ".join(parts))]
    if activity.explanation is not None:
        from txpusher.server._core.outputs import more_of

        # The text that had to be signed, as it is compared: line by line.
        lines += [f"    {printable(line)}" for line in more_of(activity)]
    return "\n".join(lines)
