"""
Every refusal of the server, in one table.

Whoever refuses something names one of these; the text beside it says what was wrong with
what value.  Sources: "Pusher Channels Protocol" and "HTTP API reference" in the Pusher
Channels documentation; RFC 6455 for the codes below 4000.
"""

from __future__ import annotations

from enum import Enum


class Means(Enum):
    """How whoever is refused learns of it."""

    STATUS = "the code is the HTTP status of the answer"
    CLOSE = "the code closes the WebSocket"
    ERROR = "the code is that of a pusher:error, and the connection goes on"
    CUT = "nothing can be said: the TCP connection ends"


class Refusal(Enum):
    """
    Everything that the server refuses, and for what it ends a connection.

    The range of a close code tells a client whether to come back: with 4000-4099 it does not,
    with 4100-4199 after a while, with 4200-4299 at once.

    :ivar means: How whoever is refused learns of it.
    :ivar code: The code, as *means* has it; None where there is none.
    :ivar meaning: When the server does so, in words.
    """

    def __init__(self, means: Means, code: int | None, meaning: str) -> None:
        self.means = means
        self.code = code
        self.meaning = meaning

    @property
    def label(self) -> str:
        """The name of the refusal as an :class:`Activity` has it."""
        return self.name.lower()

    # TCP connections and requests that reach no endpoint

    TLS = Means.CUT, None, "TLS at a port without, or a handshake of TLS that fails"
    NO_REQUEST = Means.STATUS, 400, "bytes that are no HTTP request"
    SLOW_REQUEST = Means.STATUS, 408, "a request that does not come in in time"
    LARGE_REQUEST = Means.STATUS, 413, "a request whose body is too large"
    UNESCAPED_URL = Means.STATUS, 400, "a path or query that is not percent-escaped UTF-8"
    NO_HANDSHAKE = Means.STATUS, 400, "a request for a WebSocket that is no handshake"
    NO_UPGRADE = Means.STATUS, 426, "a request to a path of WebSockets that asks for none"

    # Requests

    NO_SUCH_PATH = Means.STATUS, 404, "a path that the API does not have"
    WRONG_METHOD = Means.STATUS, 405, "a method that the path does not take"
    NO_SUCH_APP = Means.STATUS, 404, "the id of no app"
    AUTH_MISSING = Means.STATUS, 401, "a request without one of the parameters that sign it"
    AUTH_KEY = Means.STATUS, 401, "a request signed with the key of another app"
    AUTH_VERSION = Means.STATUS, 401, "a request signed by other rules than version 1.0"
    AUTH_TIMESTAMP = Means.STATUS, 401, "a request signed too long ago, or in the future"
    AUTH_BODY = Means.STATUS, 401, "a request whose body_md5 is not that of its body"
    AUTH_SIGNATURE = Means.STATUS, 401, "a request whose signature is wrong"
    DISABLED = Means.STATUS, 403, "a request to an app that is disabled"
    OVER_QUOTA = Means.STATUS, 403, "an event beyond the app's messages of a day"
    OVER_RATE = Means.STATUS, 429, "an event beyond the app's messages of a second"
    IDEMPOTENCY_KEY = Means.STATUS, 400, "an idempotency key that is no text, empty or too long"
    BODY = Means.STATUS, 400, "a body that is not JSON, or lacks something"
    NAME = Means.STATUS, 400, "the name of a channel, an event or a user that is malformed"
    INFO = Means.STATUS, 400, "an attribute that the endpoint or the channel does not have"
    NO_USERS = Means.STATUS, 400, "the users of a channel that is no presence channel"
    LARGE_EVENT = Means.STATUS, 413, "an event whose data is too large"

    CONSOLE = Means.STATUS, 403, "a request of the page; 403 where it may come from elsewhere"

    # WebSockets that are closed as soon as they are open

    UNKNOWN_APP = Means.CLOSE, 4001, "the key of no app"
    APP_DISABLED = Means.CLOSE, 4003, "a connection to an app that is disabled"
    APP_FULL = Means.CLOSE, 4004, "a connection beyond those of the app"
    NO_SOCKET_PATH = Means.CLOSE, 4005, "a WebSocket at a path that is not /app/KEY"
    INVALID_PROTOCOL = Means.CLOSE, 4006, "a protocol that is no number"
    UNSUPPORTED_PROTOCOL = Means.CLOSE, 4007, "a protocol that the server does not speak"
    NO_PROTOCOL = Means.CLOSE, 4008, "a connection that names no protocol"
    SERVER_FULL = Means.CLOSE, 4100, "a connection beyond those of the server"

    # WebSockets that are closed later

    NOT_AUTHORIZED = Means.CLOSE, 4009, "a connection that is not authorised in time"
    TERMINATED = Means.CLOSE, 4009, "a user whose connections the app ends"
    NO_PONG = Means.CLOSE, 4201, "a client that does not answer a ping"
    LARGE_MESSAGE = Means.CLOSE, 1009, "a message that is too large"
    BINARY_MESSAGE = Means.CLOSE, 1003, "a message that is not text"
    BROKEN_FRAME = Means.CLOSE, 1002, "frames that are against RFC 6455; 1007 for no UTF-8"
    SLOW_READER = Means.CUT, None, "a client that does not read what it is sent"
    SIGN_IN_OFF = Means.CLOSE, 4009, "a sign-in to an app that has none"
    SIGN_IN_DATA = Means.CLOSE, 4009, "a sign-in whose user_data is malformed"
    SIGN_IN_AUTH = Means.CLOSE, 4009, "a sign-in that is not authentic"
    SIGN_IN_TROUBLE = Means.CLOSE, 4009, "a sign-in, where trouble is asked for"
    SIGNED_IN_ALREADY = Means.CLOSE, 4009, "a sign-in as another user on one connection"

    # Messages

    MESSAGE = Means.ERROR, None, "a message that is not JSON, or lacks something"
    UNKNOWN_EVENT = Means.ERROR, None, "an event that clients may not send"
    WATCHLIST = Means.ERROR, None, "a watchlist that is malformed"
    LONG_WATCHLIST = Means.ERROR, 4302, "a watchlist of too many users"
    SUBSCRIBED_ALREADY = Means.ERROR, None, "a second subscription to a channel"
    TOO_MANY_CHANNELS = Means.ERROR, None, "a channel beyond those of a connection"
    CHANNEL_NAME = Means.ERROR, None, "a subscription to a channel that cannot be called so"
    SUBSCRIPTION_AUTH = Means.ERROR, None, "a subscription that is not authentic"
    SUBSCRIPTION_TROUBLE = Means.ERROR, None, "a subscription, where trouble is asked for"
    OTHER_USER = Means.ERROR, None, "a subscription to the channel of another user"
    NO_MEMBER = Means.ERROR, None, "a presence channel for a client that is no user"
    MEMBER = Means.ERROR, None, "a channel_data that is malformed"
    LONG_USER_ID = Means.ERROR, None, "a member whose user_id is too long"
    LARGE_USER_INFO = Means.ERROR, None, "a member whose user_info is too large"
    CHANNEL_FULL = Means.ERROR, None, "a member beyond those of a presence channel"
    CLIENT_EVENTS_OFF = Means.ERROR, 4301, "a client event in an app that has none"
    NOT_SUBSCRIBED = Means.ERROR, None, "a client event on a channel not subscribed to"
    PUBLIC_CHANNEL = Means.ERROR, None, "a client event on a public channel"
    CLIENT_EVENT_NAME = Means.ERROR, 4301, "a client event that cannot be called so"
    CLIENT_EVENT_RATE = Means.ERROR, 4301, "a client event beyond those of a second"
    CLIENT_EVENT_QUOTA = Means.ERROR, 4301, "a client event beyond the app's day"
    LARGE_CLIENT_EVENT = Means.ERROR, 4301, "a client event whose data is too large"
