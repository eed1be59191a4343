# -*- test-case-name: tests.integration.test_cli_listen -*-
"""
``txpusher listen``: a server whose webhooks go to a program that is being written, each shown
with what became of it, and sent again when asked to.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from txpusher._cli.parser import add_command, add_settings_options, seconds
from txpusher._cli.serve import add_options

if TYPE_CHECKING:
    from txpusher.server import App

_DESCRIPTION = """\
Run a Channels server for development, as serve does, and send its webhooks to
a program of yours. Each delivery is shown with its number, its status and its
time; at a terminal, a number and Enter send that one again, byte for byte.

Where PUSHER_URL is set and no --app is given, its app is the one served."""


def add_parser(commands: Any) -> None:
    """Add the command to the commands of a parser."""
    parser = add_command(
        commands,
        "listen",
        listen,
        summary="serve, and send the webhooks to a program of yours",
        description=_DESCRIPTION,
    )
    parser.add_argument(
        "--forward-to", required=True, metavar="URL", help="where the webhooks go"
    )
    parser.add_argument(
        "--forward-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="for the program to answer (10)",
    )
    add_options(parser)
    add_settings_options(parser)


def listen(arguments: argparse.Namespace) -> int:
    """Run the server until a signal comes, and return the exit code."""
    from txpusher._cli.deliveries import ListenServing
    from txpusher._cli.program import Program

    return Program(ListenServing(arguments, _apps(arguments)).run).run()


def _apps(arguments: argparse.Namespace) -> list[App]:
    """
    Return the apps: of ``--app``, else of PUSHER_URL, else the default one.

    :raises ConfigurationError: An app, a webhook or the URL is malformed.
    """
    import os

    from txpusher._cli.serve import apps_of
    from txpusher._cli.settings import FILE_VARIABLE, VARIABLE, settings_of

    is_set = any(os.environ.get(name, "").strip() for name in (VARIABLE, FILE_VARIABLE))
    if not arguments.apps and (is_set or arguments.url_file is not None):
        found = settings_of(arguments)
        arguments.apps = [(found["app_id"], found["key"], found["secret"])]
    return apps_of(arguments)
