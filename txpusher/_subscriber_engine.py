"""
What a subscriber does in the reactor: connections, timers, questions to the authorizer.

:class:`Engine` carries out the actions of :class:`~txpusher._protocol.subscribing.Subscribing`
one after another.  What concerns the program and no connection it hands to the
:class:`~txpusher.Subscriber`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher._authorizing import Authorization
from txpusher._liveness import Liveness
from txpusher._protocol import actions
from txpusher._protocol.actions import Action
from txpusher._protocol.redaction import redact_signatures
from txpusher._protocol.subscribing import Subscribing
from txpusher._subscriber_audience import Audience
from txpusher._subscriber_settings import Settings
from txpusher._waiters import Waiters

if TYPE_CHECKING:
    from txpusher._http.websocket import Line

_log = Logger(namespace="txpusher")


class Engine:
    """
    The connections of one subscriber, one after another.

    :param audience: Carries out the actions that concern the program.
    :param reactor: The reactor, None for the installed one, which is looked up with the first
        connection.
    :ivar machine: The decisions.
    :raises ConfigurationError: wsproto is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        authorization: Authorization,
        audience: Audience,
        reactor: Any,
    ) -> None:
        # Not with the package, which works without wsproto.
        from txpusher._http import websocket

        self._websocket = websocket
        self.machine = Subscribing(_redactor(settings))
        self._settings = settings
        self._authorization = authorization
        self._given_reactor = reactor
        self._endpoint: IStreamClientEndpoint | None = None
        self._line: Line | None = None
        #: The line and those before it that are still being closed.
        self._lines: set[Line] = set()
        self._closers: Waiters[None] = Waiters()
        self._waiting: Any = None
        self._liveness: Liveness | None = None
        self._established_at = 0.0
        self._questions: dict[int, Deferred[Any]] = {}
        self._queue: deque[Callable[[], None]] = deque()
        self._performing = False
        self._answers = audience.answers
        self._do = self._own_actions()
        for kind, outcome in audience.outcomes.items():
            # Of a connection both take note, the engine first.
            self._do[kind] = _both(self._do[kind], outcome) if kind in self._do else outcome

    def _own_actions(self) -> dict[type, Callable[[Any], None]]:
        line = self._websocket.Line
        return {
            actions.Open: self._open_later,
            actions.Drop: self._drop,
            actions.Abandon: lambda action: self._leave(line.drop, "abandoned"),
            actions.HangUp: lambda action: self._leave(line.hang_up),
            actions.Send: self._send,
            actions.Authorize: self._authorize,
            actions.Forget: self._forget,
            actions.Connected: self._connected,
            actions.Note: self._note,
        }

    @property
    def reactor(self) -> Any:
        """Return the reactor of the connections."""
        if self._given_reactor is None:
            from twisted.internet import reactor

            self._given_reactor = reactor
        return self._given_reactor

    @property
    def endpoint(self) -> IStreamClientEndpoint:
        """
        Return the endpoint of every connection.

        :raises ConfigurationError: TLS cannot verify the host, or the tls_policy raises.
        """
        if self._endpoint is None:
            self._endpoint = self._websocket.make_endpoint(self._settings, self.reactor)
        return self._endpoint

    def perform(self, wanted: Iterable[Action]) -> None:
        """
        Carry out actions in order.

        A handler of the program may cause more of them: those are next, once the present one
        is done.  Answers are noted at once, and given in their turn.
        """
        for action in wanted:
            kind = type(action)
            answer = self._answers.get(kind)
            self._queue.append(answer(action) if answer else partial(self._do[kind], action))
        if self._performing:
            return
        self._performing = True
        try:
            while self._queue:
                self._queue.popleft()()
        finally:
            self._performing = False
        self._check_closed()

    def closed(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is left in the reactor."""
        closer: Deferred[None] = Deferred(self._abort)
        self._closers.add(closer)
        self._check_closed()
        return closer

    def _check_closed(self) -> None:
        if not self._lines and not self._performing:
            self._closers.fire(None)

    def _abort(self, closer: Deferred[None]) -> None:
        self._closers.forget(closer)
        for line in list(self._lines):
            line.drop("closed")

    # The connection

    def _open_later(self, action: actions.Open) -> None:
        failures = action.failures
        delay = self._settings.retry.backoff(failures - 1) if failures else 0.0
        self._waiting = self.reactor.callLater(max(delay, action.at_least), self._open)

    def _open(self) -> None:
        settings = self._settings
        line = self._websocket.Line(
            self,
            self.reactor,
            self.endpoint,
            host=settings.netloc,
            target=settings.target,
            timeout=settings.connect_timeout,
        )
        self._line = line
        self._lines.add(line)
        line.open()

    def _drop(self, action: actions.Drop) -> None:
        if self._line is not None:
            self._line.drop(action.reason)

    def _leave(self, how: Callable[..., None], *arguments: str) -> None:
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self._stop_liveness()
        line, self._line = self._line, None
        if line is not None:
            how(line, *arguments)

    def _send(self, action: actions.Send) -> None:
        if self._line is not None:
            self._line.send(action.text)

    def _connected(self, action: actions.Connected) -> None:
        line = self._line
        if line is None:
            return
        line.established()
        self._established_at = self.reactor.seconds()
        ours, theirs = self._settings.activity_timeout, action.activity_timeout
        self._liveness = Liveness(
            self.reactor,
            lambda: line.heard_at,
            lambda: self.perform(self.machine.quiet()),
            lambda: line.drop(
                f"silent for over {self._settings.pong_timeout:g} s after a ping"
            ),
            activity_timeout=ours if theirs is None else min(ours, theirs),
            pong_timeout=self._settings.pong_timeout,
        )

    def _stop_liveness(self) -> None:
        if self._liveness is not None:
            self._liveness.stop()
            self._liveness = None

    # What a line reports

    def line_received(self, line: Line, text: str) -> None:
        """Take a message of the present line."""
        if line is self._line:
            self.perform(self.machine.receive(text))

    def line_lost(self, line: Line, code: int, reason: str) -> None:
        """Take note that a line is gone, and come back if it was the present one."""
        self._lines.discard(line)
        if line is self._line:
            lasted = 0.0
            if self._liveness is not None:
                lasted = self.reactor.seconds() - self._established_at
            self._line = None
            self._stop_liveness()
            self.perform(self.machine.lost(code, reason, lasted))
        self._check_closed()

    # The authorizer

    def _authorize(self, action: actions.Authorize) -> None:
        ticket, machine = action.ticket, self.machine
        socket_id = machine.socket_id
        if socket_id is None:
            return
        asked = self._authorization.ask(action.channel, socket_id, action.data)
        self._questions[ticket] = asked
        asked.addCallbacks(
            lambda answer: self.perform(machine.authorized(ticket, answer)),
            lambda failure: self._not_authorized(ticket, failure),
        )
        asked.addErrback(lambda failure: _log.failure("an authorizer's answer", failure))
        asked.addBoth(lambda _: self._answered(ticket))

    def _answered(self, ticket: int) -> None:
        self._questions.pop(ticket, None)

    def _not_authorized(self, ticket: int, failure: Failure) -> None:
        error: Any = failure.value
        self.perform(self.machine.not_authorized(ticket, error))

    def _forget(self, action: actions.Forget) -> None:
        question = self._questions.pop(action.ticket, None)
        if question is not None:
            question.cancel()

    def _note(self, action: actions.Note) -> None:
        log = {"debug": _log.debug, "warn": _log.warn, "error": _log.error}
        log[action.level.value]("{text}", text=action.text)


def _both(one: Callable[[Any], None], other: Callable[[Any], None]) -> Callable[[Any], None]:
    def do(action: Any) -> None:
        one(action)
        other(action)

    return do


def _redactor(settings: Settings) -> Callable[[str], str]:
    def redact(text: str) -> str:
        return redact_signatures(text.replace(settings.key, "[redacted]"))

    return redact
