"""Calls the endpoints as a server library would, without sockets."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing
from txpusher.server._core.endpoints import ApiCall, Endpoints, Response

from .hub_driver import WALL, Browser, Driver

EVENT = {"name": "e", "channels": ["a"], "data": "d"}


class Client:
    """Signs and makes calls, against a driver's hub."""

    def __init__(self, **app: Any) -> None:
        self.driver = Driver(**app)
        self.endpoints = Endpoints(self.driver.hub)
        self.browser: Browser = self.driver.browser()
        self.browser.subscribe("a")

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        secret: str = SECRET,
        key: str | None = None,
        signed: dict[str, str] | None = None,
        timestamp: float = WALL,
        **params: str,
    ) -> Response:
        raw = b"" if body is None else body
        if not isinstance(raw, bytes):
            raw = json.dumps(raw).encode()
        query = signing.signed_params(
            KEY, secret, method, path, params, raw if raw else None, int(timestamp)
        )
        query.update(signed or {})
        return self.send(method, path, urlencode(query), raw, key)

    def send(
        self, method: str, path: str, query: str, body: bytes = b"", key: str | None = None
    ) -> Response:
        call = ApiCall(method, path, query, body, self.driver.now, WALL, key)
        reply, outputs = self.endpoints.answer(call)
        self.driver.carry_out(outputs)
        return reply

    def get(self, path: str, **params: str) -> Any:
        reply = self.call("GET", f"/apps/3{path}", **params)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def post(self, path: str, body: Any, **options: Any) -> Response:
        return self.call("POST", f"/apps/3{path}", body, **options)

    @property
    def events(self) -> list[str]:
        return [m["data"] for m in self.browser.messages if m["event"] == "e"]
