# -*- test-case-name: tests.integration.test_cli_queries -*-
"""
``txpusher channels``, ``channel``, ``users`` and ``terminate``: ask the server, or tell it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from txpusher._cli.codes import DONE, INTERRUPTED
from txpusher._cli.output import (
    Paint,
    columns_of,
    ndjson,
    printable,
    table,
    wants_colours,
    wants_json,
)
from txpusher._cli.parser import Parser, Run, add_client_options, add_command

if TYPE_CHECKING:
    from txpusher._cli.program import Show
    from txpusher.client import Pusher


def add_parser(commands: Any) -> None:
    """Add the commands to the commands of a parser."""
    parser = _add(commands, "channels", channels, "list the occupied channels")
    parser.add_argument("--prefix", metavar="PREFIX", help="the beginning of their names")
    _add_info(parser, "subscription_count, user_count (with --prefix presence-)")
    parser = _add(
        commands,
        "channel",
        channel,
        "show the state of a channel",
        "Show whether a channel is occupied, and what else you ask for.",
    )
    parser.add_argument("channel", metavar="CHANNEL", help="its name")
    _add_info(parser, "subscription_count, user_count, cache")
    parser = _add(commands, "users", users, "list the members of a presence channel")
    parser.add_argument("channel", metavar="CHANNEL", help="its name")
    parser = _add(
        commands,
        "terminate",
        terminate,
        "end the connections of a user",
        "End every connection of a signed-in user.",
    )
    parser.add_argument("user", metavar="USER", help="the user's id")


def _add(commands: Any, name: str, run: Run, summary: str, description: str = "") -> Parser:
    description = description or f"{summary[0].upper()}{summary[1:]}."
    parser = add_command(commands, name, run, summary, description)
    add_client_options(parser)
    return parser


def _add_info(parser: Parser, attributes: str) -> None:
    parser.add_argument(
        "--info",
        metavar="ATTRIBUTES",
        help=f"ask for {attributes}; several with commas",
    )


#: Asks the server, and returns a row for each thing that it told of.
Ask = Callable[["Pusher"], Awaitable[list[dict[str, Any]]]]


def _attributes(arguments: argparse.Namespace) -> list[str] | None:
    text: str | None = arguments.info
    return None if text is None else [name.strip() for name in text.split(",")]


def channels(arguments: argparse.Namespace) -> int:
    """List the occupied channels, and return the exit code."""

    async def ask(pusher: Pusher) -> list[dict[str, Any]]:
        reply = await pusher.channels(arguments.prefix, _attributes(arguments))
        return [{"channel": name, **found} for name, found in reply["channels"].items()]

    return _query(arguments, ask, ["channel"], "no channel is occupied")


def channel(arguments: argparse.Namespace) -> int:
    """Show the state of a channel, and return the exit code."""

    async def ask(pusher: Pusher) -> list[dict[str, Any]]:
        reply = await pusher.channel_info(arguments.channel, _attributes(arguments))
        return [{"channel": arguments.channel, **reply}]

    return _query(arguments, ask, ["channel", "occupied"], "")


def users(arguments: argparse.Namespace) -> int:
    """List the members of a presence channel, and return the exit code."""

    async def ask(pusher: Pusher) -> list[dict[str, Any]]:
        reply = await pusher.channel_users(arguments.channel)
        return [dict(user) for user in reply["users"]]

    return _query(arguments, ask, ["id"], "nobody is there")


def terminate(arguments: argparse.Namespace) -> int:
    """End the connections of a user, and return the exit code."""

    async def ask(pusher: Pusher) -> list[dict[str, Any]]:
        return [await pusher.terminate_user_connections(arguments.user)]

    def in_words(rows: Sequence[dict[str, Any]], paint: Paint) -> list[str]:
        return [f"{paint('green', 'ended')}  the connections of {printable(arguments.user)}"]

    return _run(arguments, ask, in_words)


def _query(arguments: argparse.Namespace, ask: Ask, columns: list[str], nothing: str) -> int:
    def in_words(rows: Sequence[dict[str, Any]], paint: Paint) -> list[str]:
        if not rows:
            return [paint("dim", nothing)]
        return table(columns_of(columns, rows), rows, paint)

    return _run(arguments, ask, in_words)


def _run(
    arguments: argparse.Namespace,
    ask: Ask,
    in_words: Callable[[Sequence[dict[str, Any]], Paint], list[str]],
) -> int:
    from txpusher._cli.program import Program
    from txpusher._cli.settings import settings_of
    from txpusher.client import Pusher

    settings = settings_of(arguments)

    async def run(reactor: Any, show: Show) -> int:
        async with Pusher(reactor=reactor, **settings) as pusher:
            rows = await ask(pusher)
        if wants_json(arguments.json):
            lines = [ndjson(row) for row in rows]
        else:
            lines = in_words(rows, Paint(wants_colours(sys.stdout)))
        for line in lines:
            show(line)
        return DONE

    return Program(run, stopped=INTERRUPTED, message="interrupted", logs=False).run()
