"""A Node.js script as a peer: calls go to it, reports and questions come from it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.support.process import Process
from tests.support.waiting import PATIENCE

from .requirements import HERE


class NodeError(AssertionError):
    """An operation of the script raised this."""


class NodeScript:
    """
    A script of this directory that serves its operations by ``peer.js``.

    :ivar on_report: Called with each message that the script reports.
    :ivar on_question: Called with each question; returns the answer.
    """

    def __init__(self, reactor: Any) -> None:
        self.on_report: Callable[[Mapping[str, Any]], None] = lambda message: None
        self.on_question: Callable[[Mapping[str, Any]], Any] = lambda question: None
        self._reactor: IReactorTime = reactor
        self._calls: dict[int, tuple[str, Deferred[Any]]] = {}
        self._numbers = itertools.count(1)
        self._process: Process
        self._line: _Line

    @classmethod
    async def start(cls, reactor: Any, node: str, script: str) -> NodeScript:
        """Run *script*, and wait until it has connected."""
        self = cls(reactor)
        connected: Deferred[_Line] = Deferred()
        factory = Factory.forProtocol(lambda: _Line(self, connected))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self._process = Process([node, script, str(port.getHost().port)], HERE)
        connected.addTimeout(
            PATIENCE, reactor, lambda _, seconds: self._late(f"{script} did not connect")
        )
        try:
            self._line = await connected
        except BaseException:
            self._process.stop()
            raise
        finally:
            await port.stopListening()
        return self

    def call(self, operation: str, **args: Any) -> Deferred[Any]:
        """
        What the script's *operation* returns.

        :raises NodeError: It threw an error.
        """
        number = next(self._numbers)
        result: Deferred[Any] = Deferred()
        self._calls[number] = operation, result
        result.addTimeout(
            PATIENCE,
            self._reactor,
            lambda _, seconds: self._late(f"{operation} did not return"),
        )
        self._line.send({"type": "call", "call": number, "operation": operation, "args": args})
        return result

    async def stop(self) -> None:
        """Hang up, and wait until the process is gone."""
        await self._line.close()
        self._process.stop()

    def received(self, message: Mapping[str, Any]) -> None:
        """One message from the script."""
        if message["type"] == "report":
            self.on_report(message["message"])
        elif message["type"] == "question":
            self._answer(message["question"], message["about"])
        else:
            operation, result = self._calls.pop(message["call"])
            if result.called:
                return
            if message["type"] == "result":
                result.callback(message["value"])
            else:
                result.errback(NodeError(f"{operation}: {message['error']}"))

    def disconnected(self) -> None:
        """The script has ended, or was hung up on."""
        calls, self._calls = self._calls, {}
        for operation, result in calls.values():
            if not result.called:
                text = f"{operation}: the script hung up; {self._state()}"
                result.errback(Failure(NodeError(text)))

    def _answer(self, number: int, question: Mapping[str, Any]) -> None:
        message = {"type": "answer", "question": number}
        try:
            message["answer"] = self.on_question(question)
        except Exception as error:
            message["error"] = str(error)
        self._line.send(message)

    def _late(self, what: str) -> None:
        raise AssertionError(f"{what} within {PATIENCE:.0f} seconds; {self._state()}")

    def _state(self) -> str:
        code = self._process.exit_code
        state = "runs" if code is None else f"has ended with code {code}"
        return f"the process {state} and printed:\n{self._process.output}"


class _Line(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 24

    def __init__(self, script: NodeScript, connected: Deferred[_Line]) -> None:
        self._script = script
        self._connected = connected
        self._closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._connected.callback(self)

    def lineReceived(self, line: bytes) -> None:
        self._script.received(json.loads(line))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._script.disconnected()
        self._closed.callback(None)

    def send(self, message: Mapping[str, Any]) -> None:
        self.sendLine(json.dumps(message).encode("ascii"))

    def close(self) -> Deferred[None]:
        self.transport.loseConnection()
        return self._closed
