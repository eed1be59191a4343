"""
:class:`BlockingPusher`: the operations of a client as blocking calls, for threads.

Crochet carries each call to the reactor's thread and its result back.  It is
imported, and a reactor started where none runs, by the first call.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from txpusher._api import Event
from txpusher.channel import Channel
from txpusher.client import Pusher
from txpusher.errors import BlockingCallError, ClosedError
from txpusher.webhook import WebHook

if TYPE_CHECKING:
    from typing_extensions import Self

    from txpusher._transport import Stats
    from txpusher.config import Config

T = TypeVar("T")
Reply = dict[str, Any]

_setup_lock = threading.Lock()
_run_in_reactor: Any = None
_forked_from_reactor = False


def _running_reactor() -> Any:
    """The reactor where one was imported and runs, else None; imports none itself."""
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if reactor is not None and getattr(reactor, "running", False) else None


def _after_fork() -> None:
    global _forked_from_reactor, _setup_lock
    _setup_lock = threading.Lock()
    if _running_reactor() is not None:
        _forked_from_reactor = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _check_process() -> None:
    running = _running_reactor()
    alive = {thread.ident for thread in threading.enumerate()}
    if _forked_from_reactor or (running is not None and threadable.ioThread not in alive):
        raise BlockingCallError(
            "a blocking call in a process forked while the reactor ran: its thread does "
            "not exist here; make the first call after the fork, or spawn the process"
        )
    if running is not None and threadable.isInIOThread():
        raise BlockingCallError(
            "a blocking call in the reactor thread would wait for itself: use Pusher here, "
            "or deferToThread"
        )


def _set_up() -> Any:
    """What runs a function in the reactor thread; sees to it that there is one."""
    global _run_in_reactor
    with _setup_lock:
        if _run_in_reactor is None:
            import crochet

            if _running_reactor() is not None:
                # It raises where the application has set crochet up itself.
                with contextlib.suppress(RuntimeError):
                    crochet.no_setup()
            else:
                crochet.setup()
            _run_in_reactor = crochet.run_in_reactor(_call)
    if (
        _running_reactor() is None
        and threading.current_thread() is threading.main_thread()
        and all(thread.name != "CrochetReactor" for thread in threading.enumerate())
    ):
        raise BlockingCallError(
            "a blocking call before the reactor runs would wait for ever: "
            "crochet.no_setup() leaves it to the application to run it"
        )
    return _run_in_reactor


def _call(function: Callable[..., Any], arguments: Any, options: Any) -> Deferred[list[Any]]:
    # A list, so that crochet does not take a failure that nobody waits for
    # any more, after Ctrl-C, for one to log.
    return maybeDeferred(function, *arguments, **options).addBoth(lambda result: [result])


def wait_for(function: Callable[..., Deferred[T]], *arguments: Any, **options: Any) -> T:
    """
    Call *function* in the reactor thread and wait for its Deferred.

    :raises BlockingCallError: Here one could only wait for ever.
    :raises ClosedError: The reactor stopped before there was a result.
    """
    _check_process()
    run = _set_up()
    from crochet import ReactorStopped

    eventual = None
    try:
        eventual = run(function, arguments, options)
        [result] = eventual.wait(None)
    except ReactorStopped:
        # It may have stopped with the request on its way.
        raise ClosedError(
            "the reactor has stopped", maybe_delivered=eventual is not None
        ) from None
    except BaseException:
        if eventual is not None:
            eventual.cancel()
        raise
    if isinstance(result, Failure):
        result.raiseException()
    return cast(T, result)


def call_in_reactor(function: Callable[[], object]) -> None:
    """
    Have *function* called in the reactor thread, and do not wait.

    :raises BlockingCallError: As :func:`wait_for`.
    """
    _check_process()
    _set_up()
    from twisted.internet import reactor

    cast(Any, reactor).callFromThread(function)


class BlockingPusher:
    """
    :class:`~txpusher.Pusher` for threads: each operation returns its value, or
    raises its error.

    It takes the same arguments, and works in a program without a reactor (one
    is started in a thread of its own by the first call), in threads beside a
    running reactor (``deferToThread``, Scrapy, twistd), and beside an
    application's own ``crochet.setup()`` or ``crochet.no_setup()``.  Threads
    may share it.  Ctrl-C in a call cancels the request.

    Each operation, but not those without I/O, raises a
    :class:`~txpusher.BlockingCallError` at once in the reactor thread, and in
    a process that was forked after that thread began.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._pusher = Pusher(*arguments, **options)

    @classmethod
    def wrap(cls, pusher: Pusher) -> Self:
        """The operations of an existing client, with its connections and its limits."""
        blocking = cls.__new__(cls)
        blocking._pusher = pusher
        return blocking

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """:meth:`Pusher.from_url`."""
        return cls.wrap(Pusher.from_url(url, **options))

    @classmethod
    def from_env(cls, name: str = "PUSHER_URL", **options: Any) -> Self:
        """:meth:`Pusher.from_env`."""
        return cls.wrap(Pusher.from_env(name, **options))

    def __repr__(self) -> str:
        return repr(self._pusher).replace("<Pusher", f"<{type(self).__name__}", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def config(self) -> Config:
        """The settings."""
        return self._pusher.config

    @property
    def stats(self) -> Stats:
        """:attr:`Pusher.stats`."""
        return self._pusher.stats

    def trigger(
        self,
        channels: str | Iterable[str],
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Reply:
        """:meth:`Pusher.trigger`."""
        return wait_for(
            self._pusher.trigger, channels, event, data, socket_id=socket_id, info=info
        )

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> Reply:
        """:meth:`Pusher.trigger_batch`."""
        return wait_for(self._pusher.trigger_batch, events)

    def send_to_user(self, user_id: str, event: str, data: Any) -> Reply:
        """:meth:`Pusher.send_to_user`."""
        return wait_for(self._pusher.send_to_user, user_id, event, data)

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> Reply:
        """:meth:`Pusher.channels`."""
        return wait_for(self._pusher.channels, filter_by_prefix, info)

    def channel_info(self, channel: str, info: str | Iterable[str] | None = None) -> Reply:
        """:meth:`Pusher.channel_info`."""
        return wait_for(self._pusher.channel_info, channel, info)

    def channel_users(self, channel: str) -> Reply:
        """:meth:`Pusher.channel_users`."""
        return wait_for(self._pusher.channel_users, channel)

    def terminate_user_connections(self, user_id: str) -> Reply:
        """:meth:`Pusher.terminate_user_connections`."""
        return wait_for(self._pusher.terminate_user_connections, user_id)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Reply:
        """:meth:`Pusher.get`."""
        return wait_for(self._pusher.get, path, params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """:meth:`Pusher.post`."""
        return wait_for(self._pusher.post, path, body)

    def close(self, timeout: float | None = None) -> None:
        """:meth:`Pusher.close`."""
        wait_for(self._pusher.close, timeout)

    def authenticate(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """:meth:`Pusher.authenticate`."""
        return self._pusher.authenticate(channel, socket_id, custom_data)

    def authenticate_user(self, socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
        """:meth:`Pusher.authenticate_user`."""
        return self._pusher.authenticate_user(socket_id, user_data)

    def webhook(
        self,
        request: IRequest | None = None,
        *,
        key: str | None = None,
        signature: str | None = None,
        body: bytes | str | None = None,
        content_type: str = "application/json",
        extra_tokens: Iterable[tuple[str, str]] = (),
    ) -> WebHook:
        """:meth:`Pusher.webhook`."""
        return self._pusher.webhook(
            request,
            key=key,
            signature=signature,
            body=body,
            content_type=content_type,
            extra_tokens=extra_tokens,
        )

    def channel(self, name: str) -> BlockingChannel:
        """:meth:`Pusher.channel`, its operations blocking too."""
        return BlockingChannel(self._pusher.channel(name))

    __getitem__ = channel


class BlockingChannel:
    """
    :class:`~txpusher.Channel` for threads.

    :ivar name: The channel's name.
    """

    def __init__(self, channel: Channel) -> None:
        self.name = channel.name
        self._channel = channel

    def __repr__(self) -> str:
        return f"<BlockingChannel {self.name}>"

    def trigger(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Reply:
        """:meth:`Channel.trigger`."""
        return wait_for(self._channel.trigger, event, data, socket_id=socket_id, info=info)

    def trigger_quietly(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> None:
        """:meth:`Channel.trigger_quietly`."""
        wait_for(self._channel.trigger_quietly, event, data, socket_id=socket_id, info=info)

    def info(self, info: str | Iterable[str] | None = None) -> Reply:
        """:meth:`Channel.info`."""
        return wait_for(self._channel.info, info)

    def users(self) -> list[dict[str, Any]]:
        """:meth:`Channel.users`."""
        return wait_for(self._channel.users)

    def authenticate(
        self, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """:meth:`Channel.authenticate`."""
        return self._channel.authenticate(socket_id, custom_data)
