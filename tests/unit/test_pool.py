"""The connections that a client keeps: which one a request gets, and when one is closed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from txpusher._http.pool import ConnectionPool

LIMIT = 30.0


class Connection:
    """A connection that knows when its request began."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.leased_at = clock.seconds()
        self.can_be_kept = True
        self.ended = ""

    @property
    def seconds_left(self) -> float:
        return LIMIT - (self.clock.seconds() - self.leased_at)

    def may_be_used(self) -> bool:
        return not self.ended and self.seconds_left > 0

    def keep(self) -> bool:
        return self.can_be_kept

    def give_up(self) -> None:
        self.ended = "given up"

    def loseConnection(self) -> None:
        self.ended = "closed"


class Endpoint:
    """Opens a connection at once."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def connect(self, factory: Any, report: object) -> Any:
        protocol = factory.buildProtocol(None)
        protocol.transport = Connection(self.clock)
        return protocol

    def all_closed(self) -> Any:
        return succeed(None)


def make() -> tuple[ConnectionPool, Clock]:
    clock = Clock()
    endpoint: Any = Endpoint(clock)
    return ConnectionPool(clock, endpoint, keep_alive_timeout=LIMIT), clock


def opened(pool: ConnectionPool) -> Any:
    """Open a connection."""
    return pool.open(lambda phase: None).result


def keep(*protocols: Any) -> None:
    """Give connections back, as a protocol does when its reply has come."""
    for protocol in protocols:
        protocol._quiescentCallback(protocol)


def test_pool_without_a_kept_connection_has_none_to_take() -> None:
    pool, _ = make()
    assert pool.take() is None


def test_connection_that_is_kept_longest_is_taken_first() -> None:
    pool, _ = make()
    one, two = opened(pool), opened(pool)
    keep(two, one)
    assert [pool.take(), pool.take(), pool.take()] == [two, one, None]


def test_connection_that_cannot_be_kept_is_closed() -> None:
    pool, clock = make()
    one = opened(pool)
    one.transport.can_be_kept = False
    keep(one)
    assert one.transport.ended == "closed"
    assert pool.take() is None
    assert clock.getDelayedCalls() == []


def test_connection_that_grew_old_unseen_is_given_up_and_the_next_is_taken() -> None:
    pool, _ = make()
    old, young = opened(pool), opened(pool)
    keep(old, young)
    old.transport.leased_at -= LIMIT
    assert pool.take() is young
    assert old.transport.ended == "given up"


def test_each_idle_connection_is_closed_when_its_own_time_is_over() -> None:
    pool, clock = make()
    one = opened(pool)
    keep(one)
    clock.advance(10)
    two = opened(pool)
    keep(two)
    clock.advance(19.9)
    assert (one.transport.ended, two.transport.ended) == ("", "")
    clock.advance(0.1)
    assert (one.transport.ended, two.transport.ended) == ("closed", "")
    clock.advance(9.9)
    assert two.transport.ended == ""
    clock.advance(0.1)
    assert two.transport.ended == "closed"
    assert clock.getDelayedCalls() == []


def test_one_timer_serves_all_kept_connections() -> None:
    pool, clock = make()
    protocols = [opened(pool) for _ in range(5)]
    for _ in range(3):
        keep(*protocols)
        assert len(clock.getDelayedCalls()) == 1
        protocols = [pool.take() for _ in range(5)]


def test_closed_pool_leaves_neither_a_connection_nor_a_timer() -> None:
    pool, clock = make()
    one, two = opened(pool), opened(pool)
    keep(one, two)
    closed = Deferred.fromCoroutine(pool.close())
    assert closed.called
    assert [one.transport.ended, two.transport.ended] == ["closed", "closed"]
    assert clock.getDelayedCalls() == []
