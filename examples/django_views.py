"""
Publish from Django's views, authorise subscribers and verify webhooks, under gunicorn.

In one terminal::

    txpusher serve --webhook http://127.0.0.1:8000/webhooks

In another::

    pip install django gunicorn
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    gunicorn --workers 2 django_views:application

Then look at what ``serve`` prints while you order something::

    curl -d item=book http://127.0.0.1:8000/orders
"""

# Django has no annotations of its own.
# mypy: ignore-errors

from __future__ import annotations

import os
import secrets

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseForbidden, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from txpusher import BlockingBatchPublisher, BlockingPusher, InvalidRequestError, PusherError

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", secrets.token_hex(32)),
)

# Made at import, in the parent of the workers: neither starts a thread or opens a socket
# before a worker uses it.
pusher = BlockingPusher.from_env()
publisher = BlockingBatchPublisher(pusher)


@csrf_exempt
@require_POST
def order(request):
    """Publish, and tell the visitor whether that worked."""
    try:
        pusher.trigger("orders", "created", {"item": request.POST.get("item", "")})
    except PusherError as error:
        return JsonResponse({"error": str(error)}, status=502)
    return JsonResponse({"ok": True})


@csrf_exempt
@require_POST
def seen(request):
    """Publish without waiting: the worker sends it, at the latest when it is stopped."""
    publisher.submit("orders", "seen", {"item": request.POST.get("item", "")})
    return JsonResponse({"ok": True})


@csrf_exempt
@require_POST
def authorise(request):
    """Let a page subscribe to a private channel; here whoever has the cookie."""
    if request.COOKIES.get("user") != "alice":
        return HttpResponseForbidden()
    try:
        answer = pusher.authenticate(
            request.POST.get("channel_name", ""), request.POST.get("socket_id", "")
        )
    except InvalidRequestError as error:
        return JsonResponse({"error": str(error)}, status=400)
    return JsonResponse(answer)


@csrf_exempt
@require_POST
def webhooks(request):
    """Act on what the server tells, once it is known to be from the server."""
    webhook = pusher.webhook(headers=request.headers, body=request.body)
    if not webhook.is_valid:
        return HttpResponse(status=401)
    for event in webhook.events:
        print(f"{webhook.time:%H:%M:%S} {event['name']} {event.get('channel', '')}", flush=True)
    return HttpResponse()


urlpatterns = [
    path("orders", order),
    path("seen", seen),
    path("pusher/auth", authorise),
    path("webhooks", webhooks),
]
application = get_wsgi_application()
