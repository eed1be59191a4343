# -*- test-case-name: tests.integration.test_cli_doctor -*-
"""
``txpusher doctor``: looks at everything between this machine and the app, step by step.
"""

from __future__ import annotations

import argparse
import re
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs

from txpusher._cli.codes import DONE, FAILED, INTERRUPTED, code_of, fail, hint_for
from txpusher._cli.output import Paint, ndjson, one_line, wants_colours, wants_json
from txpusher._cli.parser import add_client_options, add_command
from txpusher.errors import APIError, HTTPError, PusherError

if TYPE_CHECKING:
    from txpusher._cli.program import Show
    from txpusher._http.probe import Probe
    from txpusher.client import Pusher

#: The most seconds that the clocks may differ: Pusher refuses older signatures.
MAX_SKEW = 600
#: Seconds of difference that are worth a word.
_NOTABLE_SKEW = 30
_HOSTED = re.compile(r"api-([A-Za-z0-9-]+)\.pusher\.com").fullmatch

_DESCRIPTION = """\
Look at the way to the app, step by step: name, tcp, proxy, tls, reply, clock,
credentials, cluster, limits. The exit code is that of the first that fails.

The last one publishes a batch of full size to a channel of its own, which
nobody listens to; it counts as its number of messages."""


def add_parser(commands: Any) -> None:
    """Add the command to the commands of a parser."""
    parser = add_command(
        commands,
        "doctor",
        doctor,
        summary="find out why it does not work",
        description=_DESCRIPTION,
    )
    parser.add_argument(
        "--no-publish", action="store_true", help="publish nothing: leave the limits out"
    )
    add_client_options(parser)


class SkipError(Exception):
    """A check has nothing to look at; the text says why."""


class CheckError(Exception):
    """
    A check has failed.

    :ivar code: The exit code.
    :ivar hint: What to do.
    """

    def __init__(self, text: str, code: int, hint: str) -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint


@attrs.frozen
class Outcome:
    """
    The finding of one check.

    :ivar status: ``"ok"``, ``"failed"`` or ``"skipped"``.
    """

    check: str
    status: str
    detail: str
    hint: str = ""
    code: int = DONE

    def as_mapping(self) -> dict[str, Any]:
        """Return the outcome for programs."""
        shown: dict[str, Any] = {"check": self.check, "ok": None, "detail": self.detail}
        if self.status != "skipped":
            shown["ok"] = self.status == "ok"
        return {**shown, "hint": self.hint} if self.hint else shown

    def in_words(self, paint: Paint) -> str:
        """Return the outcome for people."""
        colour = {"ok": "green", "failed": "red", "skipped": "dim"}[self.status]
        text = f"{paint(colour, self.status.ljust(7))}  {self.check.ljust(11)}  {self.detail}"
        return f"{text}\n{' ' * 22}{paint('yellow', self.hint)}" if self.hint else text


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything, and return the code of the first failure."""
    from txpusher._cli.program import Program
    from txpusher._cli.settings import settings_of
    from txpusher.client import Pusher

    settings = settings_of(arguments)
    is_json = wants_json(arguments.json)

    async def run(reactor: Any, show: Show) -> int:
        from txpusher._http.probe import Probe

        paint = Paint(wants_colours(sys.stdout))
        async with Pusher(reactor=reactor, **settings) as pusher:
            examination = Examination(
                pusher, Probe(pusher.config, reactor), publishes=not arguments.no_publish
            )

            def tell(outcome: Outcome) -> None:
                show(ndjson(outcome.as_mapping()) if is_json else outcome.in_words(paint))

            first = await examination.run(tell)
        if first is None:
            return DONE
        return fail(f"{first.check}: {first.detail}", first.code, first.hint)

    return Program(run, stopped=INTERRUPTED, message="interrupted", logs=False).run()


class Examination:
    """
    The checks, one after the other; after a failure on the way to the server, the checks that
    need the server are left out.

    :param publishes: Whether an event may be published.
    """

    def __init__(self, pusher: Pusher, probe: Probe, *, publishes: bool) -> None:
        self._pusher = pusher
        self._config = pusher.config
        self._probe = probe
        self._publishes = publishes
        self._date: float | None = None
        #: What the server has answered to the credentials: an error, or None.
        self._refusal: PusherError | None = None

    async def run(self, tell: Callable[[Outcome], None]) -> Outcome | None:
        """Run the checks, tell of each, and return the first failure."""
        checks: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
            ("name", self._name),
            ("tcp", self._tcp),
            ("proxy", self._proxy),
            ("tls", self._tls),
            ("reply", self._reply),
            ("clock", self._clock),
            ("credentials", self._credentials),
            ("cluster", self._cluster),
            ("limits", self._limits),
        )
        first: Outcome | None = None
        is_cut_off = False
        for name, check in checks:
            if is_cut_off:
                tell(
                    Outcome(name, "skipped", f"not before {first.check if first else ''} is ok")
                )
                continue
            outcome = await _outcome(name, check)
            tell(outcome)
            if outcome.status == "failed":
                first = first or outcome
                is_cut_off = name in ("name", "tcp", "proxy", "tls", "reply")
        return first

    # The way

    async def _name(self) -> str:
        if self._config.endpoint is not None:
            raise SkipError("an endpoint stands for the connection")
        addresses = await self._probe.look_up()
        whose = "the proxy " if self._config.proxy is not None else ""
        if addresses == [self._probe.host]:
            return f"{whose}{self._probe.host} is an address"
        return f"{whose}{self._probe.host} is {', '.join(addresses)}"

    async def _tcp(self) -> str:
        await self._probe.connect()
        return f"connected to {self._probe.host}:{self._probe.port}"

    async def _proxy(self) -> str:
        if self._config.proxy is None:
            raise SkipError("none is used")
        if not self._config.use_tls:
            raise SkipError("plain HTTP goes through it without a tunnel: see the reply")
        await self._probe.tunnel()
        return f"it leads to {self._config.host}:{self._config.port}"

    async def _tls(self) -> str:
        if not self._config.use_tls:
            raise SkipError("plain HTTP: who is on the way can read everything")
        await self._probe.shake_hands()
        return f"the certificate is valid for {self._config.host}"

    async def _reply(self) -> str:
        answer = await self._probe.ask()
        self._date = answer.date
        if answer.status == 407:
            raise CheckError(
                "the proxy refused with status 407", 3, "check user and password of the proxy"
            )
        return f"HTTP, status {answer.status} without a signature"

    # The app

    async def _clock(self) -> str:
        if self._date is None:
            raise SkipError("the server does not tell its time")
        skew = round(self._pusher.clock() - self._date)
        relation = "ahead of" if skew > 0 else "behind"
        if abs(skew) > MAX_SKEW:
            raise CheckError(
                f"this machine is {abs(skew)} seconds {relation} the server",
                FAILED,
                f"set its clock: signatures are good for {MAX_SKEW} seconds",
            )
        if abs(skew) > _NOTABLE_SKEW:
            return f"this machine is {abs(skew)} seconds {relation} the server"
        return "it agrees with the server's"

    async def _credentials(self) -> str:
        try:
            await self._pusher.channel_info("txpusher-doctor")
        except PusherError as error:
            self._refusal = error
            raise
        return f"app {self._config.app_id} takes the signature"

    async def _cluster(self) -> str:
        hosted = _HOSTED(self._config.host)
        if hosted is None:
            raise SkipError(f"{self._config.host} is none of Pusher's clusters")
        if self._refusal is None:
            return f"the app is in {hosted[1]}"
        status = getattr(self._refusal, "status", None)
        if status not in (400, 404):
            raise SkipError("not before credentials is ok")
        raise CheckError(
            f"there is no app {self._config.app_id} in {hosted[1]}",
            3,
            "take host or cluster from the app's page in Pusher's dashboard",
        )

    async def _limits(self) -> str:
        if self._refusal is not None:
            raise SkipError("not before credentials is ok")
        if not self._publishes:
            raise SkipError("--no-publish")
        channel = f"txpusher-doctor-{secrets.token_hex(4)}"
        size, most = self._config.max_payload_bytes, self._config.max_batch_size
        full = {"channel": channel, "name": "limits", "data": "x" * size}
        small = {"channel": channel, "name": "limits", "data": "x"}
        try:
            await self._pusher.trigger_batch([full, *[small] * (most - 1)])
        except APIError as error:
            if error.status not in (400, 413, 422):
                raise
            raise CheckError(
                f"{error}",
                code_of(error),
                f"it takes less than {size} bytes of data, or {most} events at once: "
                "lower max_payload_bytes or max_batch_size",
            ) from error
        return f"{size} bytes of data, {most} events in one request"


async def _outcome(name: str, check: Callable[[], Awaitable[str]]) -> Outcome:
    try:
        return Outcome(name, "ok", await check())
    except SkipError as reason:
        return Outcome(name, "skipped", str(reason))
    except CheckError as error:
        return Outcome(name, "failed", one_line(str(error)), error.hint, error.code)
    except PusherError as error:
        hint = _HINTS.get(name, "") if isinstance(error, HTTPError) else ""
        detail = one_line(str(error)).rstrip(".")
        shown = hint or hint_for(error).replace("; 'txpusher doctor' looks closer", "")
        return Outcome(name, "failed", detail, shown, code_of(error))


#: What to do where a step of the way has no answer.
_HINTS = {
    "name": "check the host in PUSHER_URL, and the name server of this machine",
    "tcp": "check the port in PUSHER_URL, whether the server runs, and firewalls",
    "proxy": "check --proxy or PUSHER_PROXY: it must allow CONNECT to this port",
    "tls": "https in PUSHER_URL needs a port with TLS and a certificate for the host",
    "reply": "check whether it is a Channels server, and http or https",
}
