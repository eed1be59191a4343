# -*- test-case-name: tests.integration.test_cli_subscribe -*-
"""
``txpusher subscribe``: prints the events of channels, and runs a command for each.
"""

from __future__ import annotations

import argparse
from typing import Any

from txpusher._cli.parser import Parser, add_client_options, add_command, positive, seconds
from txpusher.errors import InvalidRequestError

_DESCRIPTION = """\
Print the events of channels as they come, until Ctrl-C, --count or --duration.

Private, presence and encrypted channels are signed for with the secret of
PUSHER_URL. A lost connection is made again. What the server tells beside the
events, such as pusher:member_added, is left out unless --internal or --event
asks for it, and never counts."""

_EPILOG = """\
examples:
  txpusher subscribe news private-orders
  txpusher subscribe orders --event created --exec 'jq .data >>orders'
  txpusher subscribe presence-lobby --presence watcher --internal
  txpusher subscribe news | txpusher trigger --lines --url-file other"""


def add_parser(commands: Any) -> None:
    """Add the command to the commands of a parser."""
    parser = add_command(
        commands,
        "subscribe",
        subscribe,
        summary="print the events of channels as they come",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        usage="txpusher subscribe [options] CHANNEL...",
    )
    parser.add_argument("channels", nargs="+", metavar="CHANNEL", help="its name")
    parser.add_argument(
        "--event",
        action="append",
        dest="events",
        metavar="NAME",
        help="only events of this name; may be given several times",
    )
    parser.add_argument("--count", type=positive, metavar="N", help="end after N events")
    parser.add_argument(
        "--duration", type=seconds, metavar="SECONDS", help="end after so many seconds"
    )
    parser.add_argument(
        "--presence", metavar="USER", help="the id under which to join presence channels"
    )
    parser.add_argument(
        "--exec",
        dest="program",
        metavar="CMD",
        help="run CMD for each event, its JSON on the standard input; one at a time",
    )
    parser.add_argument(
        "--internal", action="store_true", help="print also what is no event: members, counts"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing: for --exec")
    add_client_options(parser)


def subscribe(arguments: argparse.Namespace) -> int:
    """
    Print events, and return the exit code.

    :raises InvalidRequestError: A presence channel is named, and nobody to join it.
    """
    parser: Parser = arguments.parser
    arguments.channels = [
        name for word in arguments.channels for name in word.split(",") if name
    ]
    if not arguments.channels:
        parser.error("the following arguments are required: CHANNEL")
    for name in arguments.channels:
        if name.startswith("presence-") and arguments.presence is None:
            raise InvalidRequestError(f"{name} is a presence channel: give --presence USER")
    from txpusher._cli.receiving import receive

    return receive(arguments)
