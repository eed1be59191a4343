"""
The command line: the parser of all commands, and :func:`main`.

Each module of commands has an ``add_parser`` that adds them to the parser.  The modules import
what a command needs when the command runs, so that ``--help`` and a shell's completion are
quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from txpusher._cli import (
    completion,
    demo_command,
    doctor,
    listen,
    publish,
    query,
    serve,
    sign,
    subscribe,
)
from txpusher._cli.codes import INTERRUPTED, TABLE, fail, fail_with, unforeseen
from txpusher._cli.parser import Parser
from txpusher._version import __version__
from txpusher.errors import PusherError

#: The modules of commands.
_MODULES = (publish, subscribe, query, sign, serve, listen, demo_command, doctor)

_EPILOG = f"""\
PUSHER_URL says which app: https://KEY:SECRET@HOST[:PORT]/apps/APP_ID.
PUSHER_URL_FILE or --url-file FILE names a file that has it instead. For
encrypted channels PUSHER_ENCRYPTION_MASTER_KEY has the key, in base64.

People get tables and colours (NO_COLOR is honoured), programs a JSON object
per line: with --json, or where the output is no terminal.

{TABLE}"""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param argv: The arguments, by default those of the process.
    :return: The exit code.
    """
    try:
        arguments = make_parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.command
        if sys.stdout is None:
            # It was closed before the program began.
            return fail("cannot write: there is no standard output")
        return command(arguments)
    except PusherError as error:
        return fail_with(error)
    except KeyboardInterrupt:
        # Before there was a reactor.
        return INTERRUPTED
    except OSError as error:
        from txpusher._cli.write import cannot_write

        return cannot_write(error)
    except Exception as error:
        return unforeseen(error)


#: The commands in the order of the help.
_GROUPS = (
    ("publish and receive", ("trigger", "subscribe")),
    ("ask and tell the server", ("channels", "channel", "users", "terminate")),
    ("sign and verify", ("auth", "user-auth", "sign", "webhook verify")),
    ("develop", ("serve", "listen", "demo", "doctor", "completion")),
)


def make_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="txpusher",
        usage="txpusher [--help] [--version] COMMAND ...",
        description="Pusher Channels from the command line, and a server to develop with.",
    )
    parser.add_argument("--version", action="version", version=f"txpusher {__version__}")
    commands = parser.add_subparsers(
        required=True,
        prog="txpusher",
        dest="command_name",
        metavar="COMMAND",
        help=argparse.SUPPRESS,
    )
    for module in _MODULES:
        module.add_parser(commands)
    completion.add_parser(commands, make_parser)
    parser.epilog = f"{_list(parser)}\n\n{_EPILOG}"
    return parser


def _list(parser: Parser) -> str:
    """Return the commands by groups, a line for each."""
    lines = []
    for title, names in _GROUPS:
        lines.append(f"{title}:")
        for name in names:
            command = parser
            for word in name.split():
                command = command.commands[word]
            lines.append(f"  {name:16}{command.summary}")
    lines.append("\n'txpusher COMMAND --help' tells more.")
    return "\n".join(lines)
