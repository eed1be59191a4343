"""
What the console may ask of a server, and have done by it.

Whoever publishes or terminates here does so by the HTTP API, as a program with a server library
would: the same checks, the same answers, the same webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from txpusher._protocol import signing
from txpusher._protocol.encryption import decode_master_key, decrypt, encrypt, is_encrypted
from txpusher._protocol.names import USER_CHANNEL_PREFIX
from txpusher.server._app import App
from txpusher.server._core import overview
from txpusher.server._core.endpoints import Response
from txpusher.server._core.hub import Hub
from txpusher.server._core.json import dump_bytes, dumps
from txpusher.server._core.outputs import Activity, Output
from txpusher.server._core.state import AppState


class RefusedError(Exception):
    """
    What the console was asked for is refused; the message says why.

    :ivar status: The HTTP status of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(Protocol):
    """The server, as far as the desk asks it for anything."""

    def respond(self, method: str, path: str, query: str, body: bytes, /) -> Response:
        """Answer a request of the HTTP API."""

    def carry_out(self, outputs: list[Output], /) -> None:
        """Carry the outputs of the hub out."""

    def now(self) -> float:
        """Return the time of the hub's clock, in seconds."""


class Deliveries(Protocol):
    """The requests that were sent to webhooks."""

    def overview(self) -> list[dict[str, Any]]:
        """Return the newest requests as they are shown, the newest first."""

    def repeat(self, number: int, /) -> bool:
        """Send a request again; return whether it is still known."""


class Desk:
    """
    Answers the console's questions, and does what it is asked to.

    :param apps: The apps of the server.
    :param hub: The hub of the server.
    :param clock: Returns the time in seconds since the epoch.
    """

    def __init__(
        self,
        apps: Iterable[App],
        hub: Hub,
        server: Server,
        deliveries: Deliveries,
        clock: Callable[[], float],
    ) -> None:
        self._apps = {app.id: app for app in apps}
        self._keys = {
            app.id: decode_master_key(app.encryption_master_key_base64)
            for app in self._apps.values()
            if app.encryption_master_key_base64 is not None
        }
        self._hub = hub
        self._server = server
        self._deliveries = deliveries
        self._clock = clock

    # Questions

    def apps(self) -> list[dict[str, Any]]:
        """Return what a page has to know of each app; no secret is among it."""
        return [
            {"id": app.id, "key": app.key, "decrypts": app.id in self._keys}
            for app in self._apps.values()
        ]

    def counts(self) -> dict[str, int]:
        """Return how many channels and connections there are."""
        states = list(self._states(None))
        return {
            "channels": sum(len(state.channels) for state in states),
            "connections": sum(len(state.connections) for state in states),
        }

    def channels(self, app_id: str | None, text: str) -> dict[str, Any]:
        """Return the channels whose name has *text* in it, of one app or of all."""
        return overview.channels(self._states(app_id), text)

    def connections(self, app_id: str | None, text: str) -> dict[str, Any]:
        """Return the connections with *text* in their id, their user or a channel's name."""
        return overview.connections(self._states(app_id), text)

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the newest requests to webhooks, the newest first."""
        return self._deliveries.overview()

    def open_sealed(self, app_id: str, channel: str, data: str) -> str | None:
        """Return the data of an encrypted event in clear, None where it cannot be read."""
        key = self._keys.get(app_id)
        if key is None:
            return None
        try:
            return decrypt(channel, data, key)
        except Exception:
            # Anyone may have published anything: text, JSON of another shape, another key.
            return None

    def _states(self, app_id: str | None) -> Iterable[AppState]:
        names = self._apps if app_id is None else [self._app(app_id).id]
        return [state for state in map(self._hub.app, names) if state is not None]

    def _app(self, app_id: object) -> App:
        app = self._apps.get(app_id) if isinstance(app_id, str) else None
        if app is None:
            raise RefusedError(404, "there is no app with this id")
        return app

    # Actions

    def publish(self, fields: Mapping[str, Any]) -> Any:
        """
        Publish an event, encrypted where the channel is.

        :param fields: ``app``, ``event`` and ``data``, all str; ``channels``, a list of
            names, or ``user``; perhaps ``socket_id``, a connection that is left out.
        :raises RefusedError: The event is refused.
        """
        app = self._app(fields.get("app"))
        user = fields.get("user")
        channels = fields.get("channels") if user is None else [f"{USER_CHANNEL_PREFIX}{user}"]
        event = {"name": fields.get("event"), "channels": channels, "data": fields.get("data")}
        if fields.get("socket_id"):
            event["socket_id"] = fields["socket_id"]
        for name in channels if isinstance(channels, list) else ():
            if isinstance(name, str) and isinstance(event["data"], str) and is_encrypted(name):
                event["data"] = self._sealed(app, name, event["data"])
        return self._ask(app, "/events", event)

    def _sealed(self, app: App, channel: str, data: str) -> str:
        key = self._keys.get(app.id)
        if key is None:
            raise RefusedError(
                400,
                f"{channel} is an encrypted channel, and the server was not given the master "
                "key: PUSHER_ENCRYPTION_MASTER_KEY of txpusher serve, or "
                "encryption_master_key_base64 of App",
            )
        try:
            return encrypt(channel, data, key)
        except UnicodeEncodeError:
            raise RefusedError(400, "data must be text that UTF-8 can express") from None

    def send_client_event(self, fields: Mapping[str, Any]) -> Any:
        """
        Send an event as if a client had sent it.

        :param fields: ``app``, ``socket_id`` (the client), ``channel``, ``event``, ``data``.
        :raises RefusedError: The client may not send the event.
        """
        app = self._app(fields.get("app"))
        state = self._hub.app(app.id)
        connection = state and state.connections.get(str(fields.get("socket_id")))
        if not connection:
            raise RefusedError(404, "the connection that was to send the event is gone")
        event = fields.get("event")
        if not isinstance(event, str) or not event.startswith("client-"):
            raise RefusedError(400, "the name of a client event begins with client-")
        message = {name: fields.get(name) for name in ("event", "channel", "data")}
        try:
            text = dumps(message)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, str(error)) from None
        outputs = self._hub.receive(connection, text, self._server.now())
        for output in outputs:
            if isinstance(output, Activity) and output.kind == "error":
                # Nothing is carried out: the client has done nothing wrong.
                raise RefusedError(400, output.detail or "the event is refused")
        self._server.carry_out(outputs)
        return {}

    def terminate(self, fields: Mapping[str, Any]) -> Any:
        """
        End the connections of a user, or one connection; the clients do not come back.

        :param fields: ``app``, and either ``user`` or ``socket_id``.
        :raises RefusedError: There is no such connection.
        """
        app = self._app(fields.get("app"))
        if fields.get("user") is not None:
            try:
                user = quote(str(fields["user"]), safe="")
            except UnicodeEncodeError:
                raise RefusedError(400, "user must be text that UTF-8 can express") from None
            return self._ask(app, f"/users/{user}/terminate_connections", {})
        outputs = self._hub.end_connection(
            app.id, str(fields.get("socket_id")), self._server.now()
        )
        if not outputs:
            raise RefusedError(404, "there is no such connection")
        self._server.carry_out(outputs)
        return {}

    def repeat(self, fields: Mapping[str, Any]) -> Any:
        """
        Send a request to a webhook again, byte for byte.

        :param fields: ``id``, an int.
        :raises RefusedError: The request is not kept any more.
        """
        number = fields.get("id")
        if not isinstance(number, int) or not self._deliveries.repeat(number):
            raise RefusedError(404, "there is no such request any more")
        return {}

    def _ask(self, app: App, path: str, value: Any) -> Any:
        """Ask the HTTP API, signed with the app's secret, which stays in this process."""
        path = f"/apps/{quote(app.id, safe='')}{path}"
        body = dump_bytes(value)
        params = signing.signed_params(
            app.key, app.secret, "POST", path, {}, body, int(self._clock())
        )
        response = self._server.respond("POST", path, urlencode(params), body)
        if response.status != 200:
            raise RefusedError(response.status, response.body.decode("utf-8").strip())
        return {}
