"""
Test a Flask application that publishes, with pytest and Flask's test client.

    pip install 'txpusher[server]' pytest flask
    pytest testing_with_flask.py

The fixture ``blocking_channels_server`` comes with txpusher; its server runs in a process
of its own.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from txpusher import BlockingPusher
from txpusher.testing import BlockingRunningServer


def make_app(pusher: BlockingPusher) -> Flask:
    """The code under test: orders come in, and are announced."""
    app = Flask(__name__)

    @app.post("/orders")
    def create_order() -> tuple[Any, int]:
        order = request.get_json()
        pusher.trigger("private-orders", "created", order)
        return order, 201

    @app.post("/pusher/auth")
    def authorise() -> dict[str, str]:
        return pusher.authenticate(request.form["channel_name"], request.form["socket_id"])

    return app


@pytest.fixture
def client(blocking_channels_server: BlockingRunningServer) -> FlaskClient:
    return make_app(blocking_channels_server.pusher()).test_client()


def test_order_is_announced(
    client: FlaskClient, blocking_channels_server: BlockingRunningServer
) -> None:
    reply = client.post("/orders", json={"number": 7})
    assert reply.status_code == 201
    event = blocking_channels_server.wait_for_event("private-orders", "created")
    assert event.data == {"number": 7}


def test_refused_order_is_not_announced(
    client: FlaskClient, blocking_channels_server: BlockingRunningServer
) -> None:
    assert client.post("/orders", data="no JSON").status_code == 415
    assert blocking_channels_server.events == []


def test_subscriber_is_authorised(client: FlaskClient) -> None:
    form = {"channel_name": "private-orders", "socket_id": "123.456"}
    reply = client.post("/pusher/auth", data=form)
    assert reply.get_json()["auth"].startswith("app-key:")
