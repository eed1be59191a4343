"""
The command line: the parser of all commands, and :func:`main`.

Each command is a module, whose ``add_parser`` adds it to the parser.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from txpusher._cli import serve
from txpusher._cli.program import fail
from txpusher._version import __version__
from txpusher.errors import ConfigurationError, PusherError


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param argv: The arguments, by default those of the process.
    :return: The exit code.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    if sys.stdout is None:
        # It was closed before the program began.
        return fail("cannot write: there is no standard output")
    try:
        return command(arguments)
    except PusherError as error:
        return fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="txpusher", description="Pusher Channels for Twisted: a server to develop with."
    )
    parser.add_argument("--version", action="version", version=f"txpusher {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve.add_parser(commands)
    _add_demo(commands)
    return parser


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="publish to a server in this process, and watch the events arrive",
        description="Start a server, subscribe, publish in three ways, and show what arrives.",
    )
    parser.set_defaults(command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    # The module itself needs what may not be installed.
    for module in ("wsproto", "nacl"):
        if find_spec(module) is None:
            raise ConfigurationError(
                f"the demo needs {module}, which is not installed: "
                "pip install 'txpusher[server]'"
            )
    from txpusher._cli.demo import demo

    return demo()
