"""
Test a Django application that publishes, with Django's own test client.

    pip install 'txpusher[server]' django
    python testing_with_django.py

In a project, the settings and the view have modules of their own, and the test is run by
``manage.py test``.
"""

# Django has no annotations of its own.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import json
from functools import cache
from typing import Any
from unittest import main

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import SimpleTestCase, override_settings
from django.urls import path

from txpusher import BlockingPusher
from txpusher.testing import BlockingRunningServer


@cache
def pusher_for(url: str) -> BlockingPusher:
    """One client for each URL, made when it is first used."""
    return BlockingPusher.from_url(url)


def create_order(request: HttpRequest) -> JsonResponse:
    """The code under test: an order comes in, and is announced."""
    try:
        order: Any = json.loads(request.body)
    except ValueError:
        return JsonResponse({"error": "an order is JSON"}, status=400)
    pusher_for(settings.PUSHER_URL).trigger("orders", "created", order)
    return JsonResponse(order, status=201)


urlpatterns = [path("orders", create_order)]


class OrderTests(SimpleTestCase):
    """One server for all tests of the class; each test begins with no events."""

    server: BlockingRunningServer

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = BlockingRunningServer.start()
        cls.addClassCleanup(cls.server.stop)
        changed = override_settings(PUSHER_URL=cls.server.url)
        changed.enable()
        cls.addClassCleanup(changed.disable)

    def setUp(self) -> None:
        self.server.forget_events()

    def post(self, text: str) -> Any:
        return self.client.post("/orders", text, content_type="application/json")

    def test_order_is_announced(self) -> None:
        assert self.post('{"number": 7}').status_code == 201
        event = self.server.wait_for_event("orders", "created")
        assert event.data == {"number": 7}

    def test_refused_order_is_not_announced(self) -> None:
        assert self.post("no JSON").status_code == 400
        assert self.server.events == []


if __name__ == "__main__":
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"])
    django.setup()
    main()
