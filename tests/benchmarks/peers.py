"""
What txpusher is measured beside: the official Python SDK, and plain treq.

The SDK's backends are requests, which keeps its connections, and aiohttp, which
opens a session for each request.  Its third, tornado, opens a connection for each
request too, at a lower rate than either without TLS, and than requests with it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import json
import time
from typing import Any

from .harness import APP_ID, KEY, SECRET
from .measuring import (
    BATCH,
    IN_FLIGHT,
    Events,
    Measured,
    Plan,
    check,
    in_reactor,
    in_threads,
    keep_in_flight,
    measure_async,
    now,
    tls_policy,
)


def plain_treq(plan: Plan) -> Measured:
    import treq
    from treq.client import HTTPClient
    from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

    events = Events()

    async def body(reactor: Any) -> Measured:
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = IN_FLIGHT
        policy = BrowserLikePolicyForHTTPS() if plan.ca is None else tls_policy(plan.ca)
        client = HTTPClient(Agent(reactor, policy, pool=pool))

        async def post() -> Any:
            url, content = signed(plan, *events.next())
            response = await client.post(
                url, data=content, headers={"Content-Type": "application/json"}
            )
            return json.loads(await treq.content(response))

        def begin() -> Any:
            from twisted.internet.defer import Deferred

            return Deferred.fromCoroutine(post())

        measured = await measure_async(
            plan, functools.partial(keep_in_flight, begin, IN_FLIGHT)
        )
        await pool.closeCachedConnections()
        return measured

    return in_reactor(body)


def signed(plan: Plan, channel: str, name: str, data: Any) -> tuple[str, bytes]:
    """The URL and the body of a trigger, by hand."""
    fields = {"name": name, "channels": [channel], "data": json.dumps(data)}
    content = json.dumps(fields).encode()
    path = f"/apps/{APP_ID}/events"
    query = (
        f"auth_key={KEY}&auth_timestamp={int(time.time())}&auth_version=1.0"
        f"&body_md5={hashlib.md5(content).hexdigest()}"
    )
    text = f"POST\n{path}\n{query}".encode()
    signature = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    scheme = "http" if plan.ca is None else "https"
    url = f"{scheme}://127.0.0.1:{plan.port}{path}?{query}&auth_signature={signature}"
    return url, content


def sdk_settings(plan: Plan) -> dict[str, Any]:
    """What the SDK takes to send to the sink."""
    return {
        "app_id": APP_ID,
        "key": KEY,
        "secret": SECRET,
        "host": "127.0.0.1",
        "port": plan.port,
        "ssl": plan.ca is not None,
    }


def sdk_requests(plan: Plan, threads: int, batch: bool = False) -> Measured:
    import pusher

    client = pusher.Pusher(**sdk_settings(plan))
    if plan.ca is not None:
        # It verifies against a list of its own; its options go to requests as they are.
        client._pusher_client.http.options["verify"] = plan.ca

    def publish(events: Events) -> int:
        if batch:
            check(client.trigger_batch(events.batch()))
            return BATCH
        check(client.trigger(*events.next()))
        return 1

    return in_threads(plan, publish, threads)


def sdk_aiohttp(plan: Plan, batch: bool = False) -> Measured:
    # Over TLS it verifies against the system's list: SSL_CERT_FILE names ours.
    import pusher
    from pusher.aiohttp import AsyncIOBackend

    async def body() -> Measured:
        client = pusher.Pusher(**sdk_settings(plan), backend=AsyncIOBackend)
        events = Events()

        async def until(deadline: float) -> int:
            done = 0
            while now() < deadline:
                if batch:
                    check(await client.trigger_batch(events.batch()))
                    done += BATCH
                else:
                    check(await client.trigger(*events.next()))
                    done += 1
            return done

        async def keep_for(seconds: float) -> int:
            deadline = now() + seconds
            return sum(await asyncio.gather(*(until(deadline) for _ in range(IN_FLIGHT))))

        return await measure_async(plan, keep_for)

    return asyncio.run(body())
