# -*- test-case-name: tests.integration.test_cli_sign -*-
"""
``txpusher auth``, ``user-auth``, ``sign`` and ``webhook verify``: what needs no server.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from txpusher._cli.codes import DONE, FAILED, fail
from txpusher._cli.output import Paint, ndjson, printable, shortened, wants_colours, wants_json
from txpusher._cli.parser import (
    Parser,
    add_command,
    add_output_options,
    add_settings_options,
    seconds,
)
from txpusher.errors import InvalidRequestError


def add_parser(commands: Any) -> None:
    """Add the commands to the commands of a parser."""
    _add_auth(commands)
    _add_sign(commands)
    _add_webhook(commands)


def _add_auth(commands: Any) -> None:
    parser = add_command(
        commands,
        "auth",
        auth,
        summary="sign a subscription to a private or presence channel",
        description="Print what to answer a client that asks to subscribe, as JSON.",
    )
    parser.add_argument("channel", metavar="CHANNEL", help="private-... or presence-...")
    parser.add_argument("socket_id", metavar="SOCKET_ID", help="the client's connection")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help='a JSON object; for a presence channel {"user_id": ...}',
    )
    add_settings_options(parser)
    parser = add_command(
        commands,
        "user-auth",
        user_auth,
        summary="sign a sign-in",
        description="Print what to answer a client that asks to sign in, as JSON.",
    )
    parser.add_argument("socket_id", metavar="SOCKET_ID", help="the client's connection")
    parser.add_argument("data", metavar="USER_DATA", help='a JSON object, {"id": ...}')
    add_settings_options(parser)


def _add_sign(commands: Any) -> None:
    parser = add_command(
        commands,
        "sign",
        sign,
        summary="sign a request, for curl",
        description="Print the signed URL of a request, which is good for 600 seconds.",
        epilog="example:\n"
        """  curl "$(txpusher sign GET '/channels?filter_by_prefix=presence-')\"""",
    )
    parser.add_argument("method", metavar="METHOD", help="GET, POST ...")
    parser.add_argument(
        "path", metavar="PATH", help="such as /channels, below the app's; a query may follow"
    )
    parser.add_argument("--body", metavar="TEXT", help="the exact body that will be sent")
    parser.add_argument("--json", action="store_true", help='print {"url": ...}')
    add_settings_options(parser)


def _add_webhook(commands: Any) -> None:
    webhook = commands.add_parser("webhook", description="What there is to do with webhooks.")
    below = webhook.add_subparsers(title="commands", required=True, metavar="COMMAND")
    parser: Parser = add_command(
        below,
        "verify",
        verify,
        summary="tell whether a webhook is valid, and why not",
        description="Tell whether a webhook is valid, and why not.\n\n"
        "The standard input has what --headers and --body do not give: header lines,\n"
        "an empty line, and the body exactly as received.",
    )
    parser.add_argument("--headers", metavar="FILE", help="a file with the header lines")
    parser.add_argument("--body", metavar="FILE", help="a file with the body")
    parser.add_argument(
        "--max-age", type=seconds, metavar="SECONDS", help="refuse one that is older"
    )
    add_output_options(parser)
    add_settings_options(parser)


def _object(name: str, text: str) -> Mapping[str, Any]:
    """
    Read a JSON object among the arguments.

    :raises InvalidRequestError: It is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{name} must be a JSON object, not {shortened(text, 60)!r}")
    return value


def auth(arguments: argparse.Namespace) -> int:
    """Sign a subscription, and return the exit code."""
    from txpusher._cli.settings import make_client
    from txpusher._cli.write import write_line

    data = None if arguments.data is None else _object("DATA", arguments.data)
    pusher = make_client(arguments)
    write_line(ndjson(pusher.authenticate(arguments.channel, arguments.socket_id, data)))
    return DONE


def user_auth(arguments: argparse.Namespace) -> int:
    """Sign a sign-in, and return the exit code."""
    from txpusher._cli.settings import make_client
    from txpusher._cli.write import write_line

    data = _object("USER_DATA", arguments.data)
    pusher = make_client(arguments)
    write_line(ndjson(pusher.authenticate_user(arguments.socket_id, data)))
    return DONE


def sign(arguments: argparse.Namespace) -> int:
    """Sign a request, and return the exit code."""
    from urllib.parse import parse_qsl

    from txpusher._cli.settings import make_client
    from txpusher._cli.write import write_line

    path, _, query = arguments.path.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    params = dict(pairs)
    if len(params) < len(pairs):
        raise InvalidRequestError(f"PATH has a parameter twice: {arguments.path!r}")
    url = make_client(arguments).sign(arguments.method, path, params, arguments.body)
    write_line(ndjson({"url": url}) if arguments.json else url)
    return DONE


# Webhooks


def verify(arguments: argparse.Namespace) -> int:
    """Verify a webhook, and return the exit code."""
    from txpusher._cli.settings import make_client
    from txpusher._cli.write import write_line

    pusher = make_client(arguments)
    headers, body = _parts(arguments)
    webhook = pusher.webhook(headers=headers, body=body, max_age=arguments.max_age)
    reason = webhook.reason
    if reason is None:
        shown: dict[str, Any] = {
            "valid": True,
            "reason": None,
            "time": webhook.time.isoformat(),
            "events": webhook.events,
        }
    else:
        shown = {"valid": False, "reason": reason}
    if wants_json(arguments.json):
        write_line(ndjson(shown))
    elif reason is None:
        _show_webhook(shown, write_line)
    if reason is None:
        return DONE
    hint = ""
    stripped = body.removesuffix(b"\n").removesuffix(b"\r")
    if stripped != body and pusher.webhook(headers=headers, body=stripped).is_valid:
        hint = "without the line break at the end of its body it is valid"
    return fail(f"the webhook is not valid: {reason}", FAILED, hint)


def _show_webhook(shown: Mapping[str, Any], show: Any) -> None:
    paint = Paint(wants_colours(sys.stdout))
    show(f"{paint('green', 'valid')}  sent {shown['time']}")
    for event in shown["events"]:
        rest = {name: value for name, value in event.items() if name != "name"}
        show(f"  {paint('bold', printable(str(event.get('name', ''))))}  {ndjson(rest)}")


def _parts(arguments: argparse.Namespace) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body, from files or from the standard input."""
    from txpusher._cli.reading import read_bytes, read_file

    headers, body = (
        None if name is None else read_file(name)
        for name in (arguments.headers, arguments.body)
    )
    if headers is None and body is None:
        headers, body = split_message(read_bytes())
    elif headers is None:
        headers = read_bytes()
    elif body is None:
        body = read_bytes()
    return header_pairs(headers), body or b""


def split_message(message: bytes) -> tuple[bytes, bytes]:
    """Return header lines and body, which an empty line separates."""
    found = re.search(rb"\r?\n\r?\n", message)
    if found is None:
        return message, b""
    return message[: found.start()], message[found.end() :]


def header_pairs(text: bytes) -> list[tuple[str, str]]:
    """
    Return header lines as pairs of name and value; a request line is left out.

    :raises InvalidRequestError: A line has no colon.  The message does not quote it.
    """
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        name, colon, value = line.partition(":")
        is_request_line = number == 1 and re.search(r" HTTP/[0-9.]+$", line)
        if is_request_line or not line.strip():
            continue
        if not colon or not name.strip():
            raise InvalidRequestError(f"line {number} of the headers has no colon")
        pairs.append((name.strip(), value.strip()))
    return pairs
