# -*- test-case-name: tests.integration.test_cli_trigger -*-
"""
``txpusher trigger``: publishes one event, or one for each line of the standard input.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

import attrs

from txpusher._cli.codes import DONE
from txpusher._cli.output import Paint, columns_of, ndjson, printable, table, wants_json
from txpusher._cli.parser import Parser, add_client_options, add_command

if TYPE_CHECKING:
    from txpusher._cli.program import Show
    from txpusher.client import Pusher

DESCRIPTION = """\
Publish an event to a channel, or to several with commas between them.

DATA goes out as it stands: JSON is JSON to subscribers, other text is text.
With - it is read from the standard input; without it, it is {}.

With --lines each line of the standard input is an event, many in one request,
those of a channel in order. A line is a JSON object with channel, name, data
and, if wanted, socket_id and info; or, with CHANNEL and EVENT given, the data."""

EXAMPLES = """\
examples:
  txpusher trigger news headline '{"text": "hello"}'
  txpusher trigger news,sports headline - <headline.json
  txpusher trigger --to-user alice reminder "at five"
  seq 1000 | txpusher trigger --lines counter tick"""


def add_parser(commands: Any) -> None:
    """Add the command to the commands of a parser."""
    parser = add_command(
        commands,
        "trigger",
        trigger,
        summary="publish an event, or one per line of the input",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        usage="""\
txpusher trigger [options] CHANNEL[,CHANNEL...] EVENT [DATA]
       txpusher trigger [options] --to-user USER EVENT [DATA]
       txpusher trigger [options] --lines [CHANNEL EVENT]""",
    )
    parser.add_argument(
        "words", nargs="*", metavar="CHANNEL EVENT DATA", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--to-user", metavar="USER", help="publish to a signed-in user, not to a channel"
    )
    parser.add_argument(
        "--socket-id", metavar="ID", help="the connection that does not get the event"
    )
    parser.add_argument(
        "--info",
        metavar="ATTRIBUTES",
        help="ask for subscription_count, user_count, or both with a comma",
    )
    parser.add_argument(
        "--lines", action="store_true", help="publish an event per line of the input"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="send nothing, print the request and what would be signed",
    )
    add_client_options(parser)


@attrs.frozen
class Wanted:
    """One event as the arguments have it; of ``--to-user``, there are no channels."""

    channels: list[str]
    event: str
    data: str


def wanted_of(arguments: argparse.Namespace) -> Wanted:
    """
    Return what to publish; data that is ``-`` is still to be read.

    The program ends with the code of wrong usage where there are too few words or too many.
    """
    parser: Parser = arguments.parser
    words: list[str] = list(arguments.words)
    if arguments.to_user is None:
        if len(words) < 2:
            parser.error("the following arguments are required: CHANNEL and EVENT")
        channels = words.pop(0).split(",")
    else:
        if not words:
            parser.error("the following arguments are required: EVENT")
        for name in ("info", "socket_id"):
            if getattr(arguments, name) is not None:
                parser.error(f"--{name.replace('_', '-')} does not go with --to-user")
        channels = []
    if len(words) > 2:
        parser.error(f"too many arguments: {words[2]!r}; DATA is one, in quotes")
    return Wanted(channels, words[0], words[1] if len(words) == 2 else "{}")


def trigger(arguments: argparse.Namespace) -> int:
    """Publish, and return the exit code."""
    if arguments.lines:
        return _trigger_lines(arguments)
    wanted = wanted_of(arguments)
    if wanted.data == "-":
        from txpusher._cli.reading import read_text

        wanted = attrs.evolve(wanted, data=read_text())
    if arguments.dry_run:
        return _dry_run(arguments, wanted)
    from txpusher._cli.program import Program
    from txpusher._cli.settings import settings_of
    from txpusher.client import Pusher

    settings = settings_of(arguments)

    async def run(reactor: Any, show: Show) -> int:
        async with Pusher(reactor=reactor, **settings) as pusher:
            reply = await _send(pusher, arguments, wanted)
        _show_reply(arguments, wanted, reply, show)
        return DONE

    message = "interrupted before the server answered: the event may have been delivered"
    return Program(run, stopped=130, message=message, logs=False).run()


def _send(pusher: Pusher, arguments: argparse.Namespace, wanted: Wanted) -> Any:
    if arguments.to_user is not None:
        return pusher.send_to_user(arguments.to_user, wanted.event, wanted.data)
    return pusher.trigger(
        wanted.channels,
        wanted.event,
        wanted.data,
        socket_id=arguments.socket_id,
        info=attributes(arguments.info),
    )


def attributes(text: str | None) -> list[str] | None:
    """Return the attributes of ``--info``."""
    return None if text is None else [name.strip() for name in text.split(",")]


def _show_reply(arguments: argparse.Namespace, wanted: Wanted, reply: Any, show: Show) -> None:
    if wants_json(arguments.json):
        show(ndjson(reply))
        return
    from txpusher._cli.output import wants_colours

    paint = Paint(wants_colours(sys.stdout))
    to = ", ".join(wanted.channels) or f"user {arguments.to_user}"
    show(f"{paint('green', 'accepted')}  {printable(wanted.event)} to {printable(to)}")
    channels = reply.get("channels")
    if isinstance(channels, dict) and channels:
        rows = [{"channel": name, **found} for name, found in channels.items()]
        for line in table(columns_of(["channel"], rows), rows, paint):
            show(line)


def _trigger_lines(arguments: argparse.Namespace) -> int:
    parser: Parser = arguments.parser
    if arguments.dry_run:
        parser.error("--dry-run does not go with --lines")
    if arguments.to_user is not None:
        parser.error("--to-user does not go with --lines")
    if len(arguments.words) not in (0, 2):
        parser.error("--lines takes CHANNEL and EVENT, or neither of them")
    if not arguments.words and (arguments.info is not None or arguments.socket_id is not None):
        parser.error("without CHANNEL and EVENT, info and socket_id stand in the lines")
    from txpusher._cli.lines import publish_lines

    return publish_lines(arguments)


# Without sending


def _dry_run(arguments: argparse.Namespace, wanted: Wanted) -> int:
    from txpusher._cli.settings import make_client
    from txpusher._cli.write import write_line
    from txpusher._request import build_request

    api = make_client(arguments).api
    if arguments.to_user is not None:
        request = build_request(api.send_to_user, arguments.to_user, wanted.event, wanted.data)
    else:
        request = build_request(
            api.trigger,
            wanted.channels,
            wanted.event,
            wanted.data,
            arguments.socket_id,
            attributes(arguments.info),
        )
    shown = described(make_client(arguments), request)
    if wants_json(arguments.json):
        write_line(ndjson(shown))
        return DONE
    write_line(f"{shown['method']} {shown['url']}")
    write_line("Content-Type: application/json\n")
    write_line(f"{printable(shown['body'])}\n")
    write_line(f"The string to sign:\n\n{shown['string_to_sign']}\n")
    write_line(f"With curl, which asks this program for the signature:\n\n{shown['curl']}")
    return DONE


def described(pusher: Pusher, request: Any) -> dict[str, str]:
    """
    Return a request as people look at it: what is sent and what is signed.

    Neither the secret nor the signature is in it: the curl line has the URL signed when it
    is run, which it must be anyway, because a signature is good for 600 seconds.

    :param request: An ApiRequest with a body.
    """
    from txpusher._protocol.signing import signed_params, string_to_sign

    config = pusher.config
    prefix, base = config.signed_prefix, f"{config.scheme}://{config.netloc}"
    params = signed_params(
        config.key,
        config.secret,
        request.method,
        f"{prefix}{request.path}",
        request.params,
        request.body,
        int(pusher.clock()),
    )
    signed = {name: value for name, value in params.items() if name != "auth_signature"}
    text = string_to_sign(request.method, f"{prefix}{request.path}", signed)
    body = request.body.decode("utf-8")
    path = request.path.removeprefix(config.app_path)
    sign = shlex.join(["txpusher", "sign", request.method, path, "--body", body])
    curl = shlex.join(["-H", "Content-Type: application/json", "--data-binary", body])
    return {
        "method": request.method,
        "url": f"{base}{config.path_prefix}{request.path}",
        "body": body,
        "string_to_sign": text,
        "curl": f'curl {curl} "$({sign})"',
    }
