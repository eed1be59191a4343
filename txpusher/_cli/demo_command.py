"""
``txpusher demo`` as a command; :mod:`txpusher._cli.demo` has what it does.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from txpusher._cli.parser import add_command
from txpusher.errors import ConfigurationError


def add_parser(commands: Any) -> None:
    """Add the command to the commands of a parser."""
    add_command(
        commands,
        "demo",
        demo,
        summary="publish to a server in this process, and watch",
        description="Start a server, subscribe, publish in three ways, show what arrives.",
    )


def demo(arguments: argparse.Namespace) -> int:
    """
    Run the demo, and return the exit code.

    :raises ConfigurationError: A package that the demo needs is not installed.
    """
    for module in ("wsproto", "nacl"):
        if find_spec(module) is None:
            raise ConfigurationError(
                f"the demo needs {module}, which is not installed: "
                "pip install 'txpusher[server]'"
            )
    from txpusher._cli.demo import demo

    return demo()
