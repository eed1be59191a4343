"""
The memory of a server in a test: what happened on it, and who waits for what.

Pure: :mod:`txpusher.testing` waits with Deferreds, :mod:`txpusher._testing_blocking` with
threads, and both wait for the same things with the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from txpusher._protocol.encryption import decode_master_key, decrypt, is_encrypted
from txpusher._text import is_really, with_wrong_type
from txpusher.errors import ClosedError, InvalidRequestError

if TYPE_CHECKING:
    from txpusher.server import Activity

T = TypeVar("T")

#: Id, key and secret of the app of every server in a test, the app of ``txpusher serve`` too.
DEFAULT_APP = ("1", "app-key", "app-secret")

#: The number of events that a failure message lists, the latest ones.
_LISTED = 10


@attrs.frozen
class AcceptedEvent:
    """
    An event that the server accepted over its HTTP API.

    :ivar channel: The channel's name.  An event to several channels is recorded once for
        each channel.
    :ivar name: The event's name.
    :ivar data: The value that was published: decoded where the text is JSON, else the text
        itself.  Data of an encrypted channel is decrypted, provided that the server in the
        test was given the key.
    :ivar raw_data: The text that went over the wire.
    :ivar socket_id: The connection that the event was not sent to, None where every
        subscriber got the event.
    """

    channel: str
    name: str
    data: Any
    raw_data: str
    socket_id: str | None = None


@attrs.frozen
class ClientEvent:
    """
    A ``client-`` event that one subscriber sent to the others.

    :ivar channel: The channel's name.
    :ivar name: The event's name, which begins with ``client-``.
    :ivar data: The value, as in :class:`AcceptedEvent`.
    :ivar raw_data: The text that went over the wire.
    :ivar socket_id: The connection that sent the event.
    :ivar user_id: The sender's user id on a presence channel, None on other channels.
    """

    channel: str
    name: str
    data: Any
    raw_data: str
    socket_id: str
    user_id: str | None = None


@attrs.frozen
class SubscribedClient:
    """
    A connection that is subscribed to a channel.

    :ivar channel: The channel's name.
    :ivar socket_id: The connection.
    :ivar user_id: The member's user id on a presence channel, None on other channels.
    """

    channel: str
    socket_id: str
    user_id: str | None = None


@attrs.frozen
class SignedInClient:
    """
    A connection that has signed in.

    :ivar user_id: The user's id.
    :ivar socket_id: The connection.
    """

    user_id: str
    socket_id: str


@attrs.frozen(eq=False)
class Wish(Generic[T]):
    """
    A thing that a test waits for.

    :ivar look: Returns the thing, and takes it where each is handed out once; returns None
        while there is none.
    :ivar missing: Returns a sentence of two parts, between which the seconds are put: the
        thing that did not come, and what came instead.
    """

    look: Callable[[], T | None]
    missing: Callable[[], tuple[str, str]]

    def failure(self, timeout: float) -> AssertionError:
        """Return the error of a test that waited *timeout* seconds in vain."""
        what, instead = self.missing()
        return AssertionError(f"{what} within {timeout:g} seconds; {instead}")


@attrs.frozen(eq=False)
class _Waiter:
    wish: Wish[Any]
    found: Callable[[Any], object]
    lost: Callable[[], object]


class Memory:
    """
    Keeps what an observer of the server is told, and hands it to those who wait.

    :param master_key_base64: The key of encrypted channels, None for none.
    :raises ConfigurationError: The key is not 32 bytes in base64.

    :ivar events: Every :class:`AcceptedEvent` since the last :meth:`forget`, in order.
    :ivar client_events: Every :class:`ClientEvent` since then, in order.
    """

    def __init__(self, master_key_base64: str | None) -> None:
        self._key = None if master_key_base64 is None else decode_master_key(master_key_base64)
        self.events: list[AcceptedEvent] = []
        self.client_events: list[ClientEvent] = []
        self._untaken: list[AcceptedEvent] = []
        self._untaken_client_events: list[ClientEvent] = []
        self._subscribed: dict[tuple[str, str], SubscribedClient] = {}
        self._signed_in: dict[str, SignedInClient] = {}
        self._waiters: list[_Waiter] = []
        self._closed = False

    def observe(self, activity: Activity) -> None:
        """Record one activity of the server, and tell those whom it satisfies."""
        channel, socket_id = activity.channel or "", activity.socket_id or ""
        if activity.kind == "event":
            self._keep_event(activity)
        elif activity.kind == "client_event":
            self._keep_client_event(activity)
        elif activity.kind == "subscribed":
            client = SubscribedClient(channel, socket_id, activity.user_id)
            self._subscribed[channel, socket_id] = client
        elif activity.kind == "unsubscribed":
            self._subscribed.pop((channel, socket_id), None)
        elif activity.kind == "signed_in":
            self._signed_in[socket_id] = SignedInClient(activity.user_id or "", socket_id)
        elif activity.kind == "disconnected":
            self._signed_in.pop(socket_id, None)
            for place in [place for place in self._subscribed if place[1] == socket_id]:
                del self._subscribed[place]
        else:
            return
        self._satisfy()

    def _keep_event(self, activity: Activity) -> None:
        channel, raw = activity.channel or "", activity.data or ""
        event = AcceptedEvent(
            channel, activity.event or "", self._read(channel, raw), raw, activity.socket_id
        )
        self.events.append(event)
        self._untaken.append(event)

    def _keep_client_event(self, activity: Activity) -> None:
        channel, raw = activity.channel or "", activity.data or ""
        event = ClientEvent(
            channel,
            activity.event or "",
            self._read(channel, raw),
            raw,
            activity.socket_id or "",
            activity.user_id,
        )
        self.client_events.append(event)
        self._untaken_client_events.append(event)

    def _read(self, channel: str, raw: str) -> Any:
        text = raw
        if self._key is not None and is_encrypted(channel):
            try:
                text = decrypt(channel, raw, self._key)
            except Exception:
                # Another key made the text; the text itself is the best there is.
                text = raw
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def forget(self) -> None:
        """Forget the events so far; who is subscribed and signed in stays known."""
        for events in (self.events, self._untaken):
            events.clear()
        for client_events in (self.client_events, self._untaken_client_events):
            client_events.clear()

    # Waiting

    def wait(
        self, wish: Wish[T], found: Callable[[T], object], lost: Callable[[], object]
    ) -> None:
        """
        Call *found* with the thing of *wish*, at once where it is there already.

        :param lost: Called where :meth:`close` comes first.
        :raises ClosedError: It is not there, and nothing will come any more.
        """
        value = wish.look()
        if value is not None:
            found(value)
        elif self._closed:
            raise ClosedError("the server has been stopped: nothing more will come")
        else:
            self._waiters.append(_Waiter(wish, found, lost))

    def give_up(self, wish: Wish[Any]) -> None:
        """Wait for *wish* no longer."""
        self._waiters = [waiter for waiter in self._waiters if waiter.wish is not wish]

    def close(self) -> None:
        """Take note that nothing will come any more, and tell those who wait."""
        self._closed = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.lost()

    def _satisfy(self) -> None:
        for waiter in list(self._waiters):
            # A callback of the one before may have cancelled this one.
            if waiter in self._waiters:
                value = waiter.wish.look()
                if value is not None:
                    self._waiters.remove(waiter)
                    waiter.found(value)

    # Wishes

    def event(self, channel: str | None, name: str | None) -> Wish[AcceptedEvent]:
        """Wish for an event that was not handed out yet; None fits every name."""
        return Wish(
            lambda: _take(self._untaken, channel, name),
            lambda: (_no("event", channel, name), f"accepted so far: {_latest(self.events)}"),
        )

    def client_event(self, channel: str | None, name: str | None) -> Wish[ClientEvent]:
        """Wish for a client event that was not handed out yet; None fits every name."""
        return Wish(
            lambda: _take(self._untaken_client_events, channel, name),
            lambda: (
                _no("client event", channel, name),
                f"client events so far: {_latest(self.client_events)}",
            ),
        )

    def subscription(self, channel: str, count: int) -> Wish[tuple[SubscribedClient, ...]]:
        """
        Wish for *count* connections that are subscribed to *channel*; 0 is for nobody.

        :raises InvalidRequestError: *count* is no whole number >= 0.
        """
        if not is_really(int, count) or count < 0:
            raise InvalidRequestError(
                f"count must be a whole number >= 0, not {with_wrong_type(int, count)}"
            )

        def look() -> tuple[SubscribedClient, ...] | None:
            clients = tuple(self._clients_of(channel))
            enough = len(clients) >= count if count else not clients
            return clients if enough else None

        def missing() -> tuple[str, str]:
            what = f"no subscription to {channel!r}"
            if count == 0:
                what = f"no end of the subscriptions to {channel!r}"
            elif count > 1:
                what = f"no {count} subscriptions to {channel!r}"
            return what, f"subscribed now: {self._audience()}"

        return Wish(look, missing)

    def sign_in(self, user_id: str | None) -> Wish[SignedInClient]:
        """Wish for a connection that is signed in, as *user_id* or as anyone."""

        def missing() -> tuple[str, str]:
            whose = "" if user_id is None else f" of user {user_id!r}"
            users = sorted({repr(client.user_id) for client in self._signed_in.values()})
            return f"no sign-in{whose}", f"signed in now: {', '.join(users) or 'nobody'}"

        return Wish(
            lambda: next(
                (c for c in self._signed_in.values() if user_id in (None, c.user_id)), None
            ),
            missing,
        )

    def _clients_of(self, channel: str) -> Iterable[SubscribedClient]:
        return (client for client in self._subscribed.values() if client.channel == channel)

    def _audience(self) -> str:
        names = dict.fromkeys(client.channel for client in self._subscribed.values())
        counted = [f"{len([*self._clients_of(name)])} to {name!r}" for name in names]
        return ", ".join(counted) or "nobody"


_Event = TypeVar("_Event", AcceptedEvent, ClientEvent)


def _take(events: list[_Event], channel: str | None, name: str | None) -> _Event | None:
    for event in events:
        if channel in (None, event.channel) and name in (None, event.name):
            events.remove(event)
            return event
    return None


def _no(kind: str, channel: str | None, name: str | None) -> str:
    which = "" if name is None else f" {name!r}"
    where = "" if channel is None else f" on channel {channel!r}"
    return f"no {kind}{which}{where}"


def _latest(events: Iterable[AcceptedEvent | ClientEvent]) -> str:
    named = [f"{event.name!r} on {event.channel!r}" for event in events]
    listed = ["...", *named[-_LISTED:]] if len(named) > _LISTED else named
    return ", ".join(listed) or "nothing"
