# -*- test-case-name: tests.integration.test_subscriber_connection -*-
"""
A WebSocket connection as a client, over wsproto and Twisted's endpoints.

A :class:`Line` is one connection, from the lookup of the host's name to the last byte; what
its messages mean is the affair of its :class:`Receiver`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS

from txpusher._http.host import HostEndpoint
from txpusher._http.proxy import TunnelEndpoint
from txpusher.errors import ConfigurationError

try:
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import (
        AcceptConnection,
        BytesMessage,
        CloseConnection,
        Event,
        Ping,
        RejectConnection,
        Request,
        TextMessage,
    )
    from wsproto.utilities import ProtocolError
except ImportError:
    raise ConfigurationError(
        "the subscriber needs wsproto: pip install 'txpusher[subscriber]'"
    ) from None

if TYPE_CHECKING:
    from txpusher._subscriber_settings import Settings

#: Seconds that the server has to answer a close frame.
CLOSE_TIMEOUT = 1.0
#: The most characters of one message.
MAX_MESSAGE = 16 * 2**20

#: The close codes of RFC 6455, section 7.4.1, that this client uses.
NORMAL, UNSUPPORTED, ABNORMAL, TOO_BIG = 1000, 1003, 1006, 1009


class Receiver(Protocol):
    """The object that a line tells of its messages, and of its end."""

    def line_received(self, line: Line, text: str) -> None:
        """Take a text message."""

    def line_lost(self, line: Line, code: int, reason: str) -> None:
        """
        Take note that *line* is gone; it is called once for each line.

        :param code: The close code, 1006 where there was none.
        """


class LineState(enum.Enum):
    """How far a line is."""

    #: A host is looked up, a connection is made, a proxy is asked.
    CONNECTING = "connecting"
    #: The handshake has been sent.
    SHAKING_HANDS = "shaking hands"
    #: Messages go both ways.
    OPEN = "open"
    #: A close frame has been sent, or the connection is being ended.
    CLOSING = "closing"
    #: Nothing is left in the reactor.
    GONE = "gone"


def make_endpoint(settings: Settings, reactor: Any) -> IStreamClientEndpoint:
    """
    Return the endpoint of the server: through the proxy where there is one, and TLS.

    :raises ConfigurationError: TLS cannot verify the host, or the tls_policy raises.
    """
    proxy = settings.proxy
    to: Any = settings.endpoint or HostEndpoint(
        reactor,
        settings.host if proxy is None else proxy.host,
        settings.port if proxy is None else proxy.port,
        settings.connect_timeout,
    )
    if proxy is not None:
        to = TunnelEndpoint(to, settings.host, settings.port, proxy, lambda phase: None)
    if not settings.use_tls:
        return to  # type: ignore[no-any-return]
    policy: Any = settings.tls_policy or BrowserLikePolicyForHTTPS()
    try:
        creator = policy.creatorForNetloc(settings.host.encode("ascii"), settings.port)
        return wrapClientTLS(creator, to)
    except Exception as error:
        raise ConfigurationError(f"host or tls_policy cannot be used: {error}") from error


class Line:
    """
    One connection; :meth:`open` begins it.

    :param timeout: Seconds until :meth:`established` must have been called: to look up, to
        connect, to shake hands, and for the first message.
    :ivar heard_at: When the last bytes came, in the reactor's seconds.
    """

    def __init__(
        self,
        receiver: Receiver,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        *,
        host: str,
        target: str,
        timeout: float,
    ) -> None:
        self._receiver = receiver
        self._reactor = reactor
        self._endpoint = endpoint
        self._request = Request(host=host, target=target)
        self._timeout = timeout
        self._timer: Any = None
        self._connecting: Any = None
        self._socket: _Socket | None = None
        self._end = (ABNORMAL, "the connection was lost")
        self.state = LineState.CONNECTING
        self.heard_at = reactor.seconds()

    def open(self) -> None:
        """Begin to connect; whatever becomes of it, the receiver is told."""
        self._set_timer(self._timeout, "no connection within connect_timeout")
        factory = Factory.forProtocol(lambda: _Socket(self, self._request))
        factory.noisy = False
        # An endpoint of the user's may raise.
        self._connecting = maybeDeferred(
            self._endpoint.connect, cast(IProtocolFactory, factory)
        )
        self._connecting.addErrback(self._not_connected)

    def established(self) -> None:
        """Take note that the server has greeted: connect_timeout counts no more."""
        self._clear_timer()

    def send(self, text: str) -> None:
        """Send a text message; nothing is sent where the line is not open."""
        if self.state is LineState.OPEN and self._socket is not None:
            self._socket.send(TextMessage(data=text))

    def hang_up(self) -> None:
        """Say goodbye; end the connection when the server answers, or after a second."""
        if self.state is LineState.OPEN and self._socket is not None:
            self.state = LineState.CLOSING
            self._socket.send(CloseConnection(code=NORMAL))
            self._set_timer(CLOSE_TIMEOUT, "no answer to the close frame")
        elif self.state is not LineState.CLOSING:
            self.drop("closed")

    def drop(self, reason: str) -> None:
        """End the connection or the attempt at once."""
        if self.state is LineState.GONE:
            return
        self._end = (self._end[0], reason)
        self.state = LineState.CLOSING
        if self._socket is not None:
            self._socket.abort()
        else:
            self._connecting.cancel()

    # What the socket reports

    def connected(self, socket: _Socket) -> None:
        """Take the socket: the handshake is on its way."""
        self._socket = socket
        self.state = LineState.SHAKING_HANDS
        self.heard_at = self._reactor.seconds()

    def heard(self) -> None:
        """Take note that bytes have come in."""
        self.heard_at = self._reactor.seconds()

    def accepted(self) -> None:
        """Take note that the server has accepted the handshake."""
        if self.state is LineState.SHAKING_HANDS:
            self.state = LineState.OPEN

    def received(self, text: str) -> None:
        """Hand a message on, unless the line is being closed."""
        if self.state is LineState.OPEN:
            self._receiver.line_received(self, text)

    def closing(self, code: int, reason: str) -> None:
        """Take note of the close code, the server's or that of a broken protocol."""
        if self.state is not LineState.CLOSING:
            self._end = (code, reason)
            self.state = LineState.CLOSING
        self._set_timer(CLOSE_TIMEOUT, reason)

    def lost(self, reason: Failure) -> None:
        """Take note that the socket is gone."""
        code, text = self._end
        if code == ABNORMAL:
            text = f"{text} ({reason.getErrorMessage()})"
        self._gone(code, text)

    def _not_connected(self, reason: Failure) -> None:
        why = self._end[1]
        if self.state is not LineState.CLOSING:
            why = f"no connection: {type(reason.value).__name__}: {reason.getErrorMessage()}"
        self._gone(ABNORMAL, why)

    def _gone(self, code: int, text: str) -> None:
        self._clear_timer()
        self.state = LineState.GONE
        self._receiver.line_lost(self, code, text)

    def _set_timer(self, seconds: float, why: str) -> None:
        self._clear_timer()
        self._timer = self._reactor.callLater(seconds, self.drop, why)

    def _clear_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class _Socket(TwistedProtocol):
    """The bytes of a line, and wsproto between them and its messages."""

    def __init__(self, line: Line, request: Request) -> None:
        self._line = line
        self._request = request
        self._wsproto = WSConnection(ConnectionType.CLIENT)
        self._pieces: list[str] = []
        self._size = 0

    def connectionMade(self) -> None:
        self._line.connected(self)
        self.send(self._request)

    def send(self, event: Event) -> None:
        """Write an event of wsproto."""
        self._transport.write(self._wsproto.send(event))

    def abort(self) -> None:
        """End the connection without a word."""
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        line = self._line
        line.heard()
        try:
            self._wsproto.receive_data(data)
            for event in self._wsproto.events():
                self._take(event)
        except ProtocolError as error:
            self._broken(f"the server broke the protocol: {error}")

    def _take(self, event: Event) -> None:
        line = self._line
        if isinstance(event, TextMessage):
            self._text(event)
        elif isinstance(event, Ping):
            if line.state is LineState.OPEN:
                self.send(event.response())
        elif isinstance(event, AcceptConnection):
            line.accepted()
        elif isinstance(event, CloseConnection):
            self._closed(event)
        elif isinstance(event, RejectConnection):
            self._broken(f"the server refused the WebSocket with {event.status_code}")
        elif isinstance(event, BytesMessage):
            self._refuse(UNSUPPORTED, "a message of the protocol is text")

    def _text(self, event: TextMessage) -> None:
        if event.message_finished and not self._pieces:
            self._line.received(event.data)
            return
        self._pieces.append(event.data)
        self._size += len(event.data)
        if self._size > MAX_MESSAGE:
            self._refuse(TOO_BIG, f"a message is over {MAX_MESSAGE} characters")
        elif event.message_finished:
            text, self._pieces, self._size = "".join(self._pieces), [], 0
            self._line.received(text)

    def _closed(self, event: CloseConnection) -> None:
        ours = self._line.state is LineState.CLOSING
        self._line.closing(int(event.code), event.reason or "")
        if not ours:
            self.send(event.response())
        self._transport.loseConnection()

    def _refuse(self, code: int, reason: str) -> None:
        if self._line.state is LineState.OPEN:
            self._line.closing(code, reason)
            self.send(CloseConnection(code=code, reason=reason))
            self._transport.loseConnection()

    def _broken(self, reason: str) -> None:
        self._line.drop(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._line.lost(reason)
