"""
Publish from FastAPI, authorise subscribers and verify webhooks, under uvicorn.

uvicorn runs an event loop of asyncio's and no reactor: the blocking calls go into a thread.
In one terminal::

    txpusher serve --webhook http://127.0.0.1:8000/webhooks

In another::

    pip install fastapi uvicorn
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    uvicorn fastapi_views:application

Then look at what ``serve`` prints while you order something::

    curl -X POST 'http://127.0.0.1:8000/orders?item=book'
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Request

from txpusher import BlockingBatchPublisher, BlockingPusher, InvalidRequestError, PusherError

application = FastAPI()

pusher = BlockingPusher.from_env()
publisher = BlockingBatchPublisher(pusher)


@application.post("/orders")
async def order(item: str) -> dict[str, bool]:
    """Publish, and tell the visitor whether that worked; the loop goes on meanwhile."""
    try:
        await asyncio.to_thread(pusher.trigger, "orders", "created", {"item": item})
    except PusherError as error:
        raise HTTPException(502, str(error)) from error
    return {"ok": True}


@application.post("/seen")
async def seen(item: str) -> dict[str, bool]:
    """Publish without waiting for the server; the first call alone may take a moment."""
    await asyncio.to_thread(publisher.submit, "orders", "seen", {"item": item})
    return {"ok": True}


@application.post("/pusher/auth")
async def authorise(request: Request) -> dict[str, str]:
    """Let a page subscribe to a private channel; here whoever has the cookie."""
    if request.cookies.get("user") != "alice":
        raise HTTPException(403)
    form = dict(parse_qsl((await request.body()).decode()))
    try:
        # Without I/O, so without a thread.
        return pusher.authenticate(form.get("channel_name", ""), form.get("socket_id", ""))
    except InvalidRequestError as error:
        raise HTTPException(400, str(error)) from error


@application.post("/webhooks")
async def webhooks(request: Request) -> dict[str, Any]:
    """Act on what the server tells, once it is known to be from the server."""
    webhook = pusher.webhook(headers=request.headers, body=await request.body())
    if not webhook.is_valid:
        raise HTTPException(401)
    for event in webhook.events:
        print(f"{webhook.time:%H:%M:%S} {event['name']} {event.get('channel', '')}", flush=True)
    return {}
