# -*- test-case-name: tests.unit.test_cli -*-
"""
The argument parser of the commands, and the options that many of them have.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from typing import Any, NoReturn

from txpusher._cli.codes import USAGE, fail

#: A command: takes the parsed arguments, and returns the exit code.
Run = Callable[[argparse.Namespace], int]


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Formats help for a terminal, 80 columns wide at most."""

    def __init__(self, prog: str) -> None:
        width = min(80, shutil.get_terminal_size().columns)
        super().__init__(prog, max_help_position=26, width=width)


class Parser(argparse.ArgumentParser):
    """
    A parser whose errors are one line, and which takes options anywhere.

    argparse takes the positional arguments of a subcommand in one piece: without
    ``parse_known_intermixed_args`` an option between CHANNEL and EVENT would be an error.

    :ivar summary: The command in a few words.
    """

    summary = ""

    @property
    def commands(self) -> dict[str, Parser]:
        """The parsers of the commands below this one, by name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
                return dict(action.choices)
        return {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, "allow_abbrev": False, **settings})
        self._inside = False

    def error(self, message: str) -> NoReturn:
        """Print *message* in one line, and end the program with the code of wrong usage."""
        raise SystemExit(fail(message, USAGE, f"see '{self.prog} --help'"))

    def format_usage(self) -> str:
        """Return the usage, which has the arguments and leaves options to their list."""
        self._set_usage()
        return super().format_usage()

    def format_help(self) -> str:
        """Return the help, with that usage."""
        self._set_usage()
        return super().format_help()

    def _set_usage(self) -> None:
        if self.usage is None and not self.commands:
            words = [self.prog, "[options]"]
            for action in self._actions:
                name = str(action.metavar or action.dest)
                if action.option_strings:
                    words += [action.option_strings[-1], name] if action.required else []
                else:
                    words.append(f"[{name}]" if action.nargs == "?" else name)
            self.usage = " ".join(words)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; see :meth:`argparse.ArgumentParser.parse_known_args`."""
        if self.commands or self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def add_command(
    commands: Any, name: str, run: Run, summary: str, description: str, **settings: Any
) -> Parser:
    """
    Add a command to the commands of a parser.

    :param run: Runs the command.
    :param summary: The line of the command in the list of commands.
    :param description: What stands above its arguments.
    """
    parser: Parser = commands.add_parser(name, description=description, **settings)
    parser.summary = summary
    parser.set_defaults(command=run, parser=parser)
    return parser


def add_output_options(parser: Parser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object per line, as where the output is no terminal",
    )


def add_settings_options(parser: Parser) -> None:
    """Add what says which app it is."""
    group = parser.add_argument_group("the app, which PUSHER_URL names")
    group.add_argument(
        "--url-file",
        metavar="FILE",
        help="a file with the URL, alone or as a line PUSHER_URL=URL",
    )


def add_client_options(parser: Parser) -> None:
    """Add the options of every command that asks the server."""
    add_output_options(parser)
    add_settings_options(parser)
    group = parser.add_argument_group("the connection")
    group.add_argument(
        "--timeout",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="for connecting, and for each reply (5)",
    )
    group.add_argument(
        "--retries",
        type=count,
        default=3,
        metavar="N",
        help="repeat what is safe to repeat so many times (3)",
    )
    group.add_argument(
        "--proxy", metavar="URL", help="an HTTP proxy; PUSHER_PROXY may have it instead"
    )


def seconds(text: str) -> float:
    """Read a number of seconds greater than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def count(text: str) -> int:
    """Read a whole number of 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
