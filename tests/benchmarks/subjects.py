"""
One way to publish, measured once, in a process of its own: a child of
:mod:`tests.benchmarks.throughput`, which says which one and for how long.

All send the same events to the same sink and check each reply.  Those on an
event loop keep a number of requests in flight, the others a number of threads.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import attrs

from . import measuring
from .harness import APP_ID, KEY, SECRET
from .measuring import (
    BATCH,
    CHANNELS,
    IN_FLIGHT,
    IN_FLIGHT_EVENTS,
    THREADS,
    Events,
    Measured,
    Plan,
    check,
    discard_log,
    in_reactor,
    in_threads,
    keep_in_flight,
    measure_async,
    tls_policy,
)
from .peers import plain_treq, sdk_aiohttp, sdk_requests


def settings(plan: Plan) -> dict[str, Any]:
    """What a Pusher takes to send to the sink."""
    chosen: dict[str, Any] = {
        "app_id": APP_ID,
        "key": KEY,
        "secret": SECRET,
        "host": "127.0.0.1",
        "port": plan.port,
        "use_tls": plan.ca is not None,
    }
    if plan.ca is not None:
        chosen["tls_policy"] = tls_policy(plan.ca)
    return chosen


def txpusher_trigger(plan: Plan) -> Measured:
    from txpusher import Pusher

    async def body(reactor: Any) -> Measured:
        pusher, events = Pusher(**settings(plan)), Events()
        keep_for = functools.partial(
            keep_in_flight, lambda: pusher.trigger(*events.next()), IN_FLIGHT
        )
        measured = await measure_async(plan, keep_for)
        await pusher.close()
        return measured

    return in_reactor(body)


def txpusher_trigger_batch(plan: Plan) -> Measured:
    from txpusher import Pusher

    async def body(reactor: Any) -> Measured:
        pusher, events = Pusher(**settings(plan)), Events()

        def keep_for(seconds: float) -> Any:
            return keep_in_flight(
                lambda: pusher.trigger_batch(events.batch()), IN_FLIGHT, seconds, BATCH
            )

        measured = await measure_async(plan, keep_for)
        await pusher.close()
        return measured

    return in_reactor(body)


def batch_publisher(plan: Plan, channels: int = CHANNELS) -> Measured:
    from txpusher import BatchPublisher, Pusher

    async def body(reactor: Any) -> Measured:
        pusher, events = Pusher(**settings(plan)), Events(channels)
        publisher = BatchPublisher(pusher)
        keep_for = functools.partial(
            keep_in_flight, lambda: publisher.trigger(*events.next()), IN_FLIGHT_EVENTS
        )
        measured = await measure_async(plan, keep_for)
        await publisher.close()
        await pusher.close()
        return measured

    return in_reactor(body)


def batch_publish(plan: Plan) -> Measured:
    from txpusher import BatchPublisher, Pusher

    async def body(reactor: Any) -> Measured:
        pusher, events = Pusher(**settings(plan)), Events()
        publisher = BatchPublisher(pusher)

        async def keep_for(seconds: float) -> int:
            published = await publisher.publish(events.until(measuring.now() + seconds))
            check(dict(enumerate(published.failed)))
            return published.accepted

        measured = await measure_async(plan, keep_for)
        await publisher.close()
        await pusher.close()
        return measured

    return in_reactor(body)


def blocking_pusher(plan: Plan, threads: int) -> Measured:
    from txpusher import BlockingPusher

    discard_log()

    def publish(events: Events) -> int:
        check(pusher.trigger(*events.next()))
        return 1

    with BlockingPusher(**settings(plan)) as pusher:
        return in_threads(plan, publish, threads)


def blocking_batch_publisher(plan: Plan, threads: int, at_once: int) -> Measured:
    from txpusher import BlockingBatchPublisher, BlockingPusher

    discard_log()

    def publish(events: Events) -> int:
        if at_once == 1:
            check(publisher.trigger(*events.next()))
        else:
            futures = [publisher.submit(*events.next()) for _ in range(at_once)]
            for future in futures:
                check(future.result())
        return at_once

    with (
        BlockingPusher(**settings(plan)) as pusher,
        BlockingBatchPublisher(pusher) as publisher,
    ):
        return in_threads(plan, publish, threads)


partial = functools.partial

#: What :mod:`tests.benchmarks.throughput` can ask for.
SUBJECTS: dict[str, Callable[[Plan], Measured]] = {
    "trigger": txpusher_trigger,
    "publisher": batch_publisher,
    "publisher-one-channel": partial(batch_publisher, channels=1),
    "publish": batch_publish,
    "batch": txpusher_trigger_batch,
    "blocking-1": partial(blocking_pusher, threads=1),
    "blocking-8": partial(blocking_pusher, threads=THREADS),
    "blocking-publisher": partial(blocking_batch_publisher, threads=THREADS, at_once=1),
    "blocking-publisher-submit": partial(
        blocking_batch_publisher, threads=THREADS, at_once=IN_FLIGHT_EVENTS // THREADS
    ),
    "requests-1": partial(sdk_requests, threads=1),
    "requests-8": partial(sdk_requests, threads=THREADS),
    "requests-32": partial(sdk_requests, threads=IN_FLIGHT),
    "requests-batch": partial(sdk_requests, threads=1, batch=True),
    "aiohttp": sdk_aiohttp,
    "aiohttp-batch": partial(sdk_aiohttp, batch=True),
    "treq": plain_treq,
}


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    print(json.dumps(attrs.asdict(SUBJECTS[plan.subject](plan))))


if __name__ == "__main__":
    main()
