"""
Publish from Flask's views, authorise subscribers and verify webhooks, under gunicorn.

In one terminal::

    txpusher serve --webhook http://127.0.0.1:8000/webhooks

In another::

    pip install flask gunicorn
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    gunicorn --workers 2 flask_views:application

Then look at what ``serve`` prints while you order something::

    curl -d item=book http://127.0.0.1:8000/orders
"""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, request

from txpusher import BlockingBatchPublisher, BlockingPusher, InvalidRequestError, PusherError

application = Flask(__name__)

# Made at import, in the parent of the workers: neither starts a thread or opens a socket
# before a worker uses it.
pusher = BlockingPusher.from_env()
publisher = BlockingBatchPublisher(pusher)


@application.post("/orders")
def order() -> Any:
    """Publish, and tell the visitor whether that worked."""
    try:
        pusher.trigger("orders", "created", {"item": request.form.get("item", "")})
    except PusherError as error:
        return {"error": str(error)}, 502
    return {"ok": True}


@application.post("/seen")
def seen() -> Any:
    """Publish without waiting: the worker sends it, at the latest when it is stopped."""
    publisher.submit("orders", "seen", {"item": request.form.get("item", "")})
    return {"ok": True}


@application.post("/pusher/auth")
def authorise() -> Any:
    """Let a page subscribe to a private channel; here whoever has the cookie."""
    if request.cookies.get("user") != "alice":
        abort(403)
    try:
        return pusher.authenticate(
            request.form.get("channel_name", ""), request.form.get("socket_id", "")
        )
    except InvalidRequestError as error:
        return {"error": str(error)}, 400


@application.post("/webhooks")
def webhooks() -> Any:
    """Act on what the server tells, once it is known to be from the server."""
    webhook = pusher.webhook(headers=request.headers, body=request.get_data())
    if not webhook.is_valid:
        abort(401)
    for event in webhook.events:
        print(f"{webhook.time:%H:%M:%S} {event['name']} {event.get('channel', '')}", flush=True)
    return ""
