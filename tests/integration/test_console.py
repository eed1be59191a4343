"""The console over HTTP: who may use it, what it answers, what it does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.web.server import Site

from tests.support.credentials import KEY, MASTER_KEY_BASE64, SECRET
from tests.support.raw_client import (
    Raw,
    close,
    connect_raw,
    end,
    handshake,
    open_socket,
    signed,
)
from txpusher import Pusher
from txpusher.server import App, ChannelsServer
from txpusher.server import _limits as limits

from .webhook_receiver import Receiver

pytest.importorskip("wsproto")

FILES = ["/", "/console/console.js", "/console/console.css", "/console/icon.svg"]
QUESTIONS = [
    "/console/events",
    "/console/state",
    "/console/channels",
    "/console/connections",
    "/console/webhooks",
]
STREAM = "/console/stream"
ACTIONS = [
    "/console/publish",
    "/console/client-event",
    "/console/terminate",
    "/console/webhooks/repeat",
]


class Page:
    """Asks the console as a page of its own does, each time over a connection of its own."""

    def __init__(self, server: ChannelsServer) -> None:
        self.server = server

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        raw = await connect_raw(self.server.port)
        raw.write(self.request(method, path, body, **headers))
        answer = await raw.response()
        await end(raw)
        return answer

    def request(self, method: str, path: str, body: Any = None, **headers: str | None) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        every: dict[str, str | None] = {"Host": f"127.0.0.1:{self.server.port}"}
        if body is not None:
            every |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        every |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in every.items() if value is not None]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + content

    async def get(self, path: str) -> Any:
        status, _, body = await self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    async def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        status, _, body = await self.ask("POST", path, {"app": "3", **fields})
        return status, json.loads(body)


Make = Callable[..., Any]


@pytest_twisted.async_yield_fixture
async def make(log: Any, clean_reactor: None) -> AsyncIterator[Make]:
    """Starts a server with a console, and gives a page of it."""
    servers: list[ChannelsServer] = []

    async def started(app: dict[str, Any] | None = None, **options: Any) -> Page:
        server = ChannelsServer(
            [App("3", KEY, SECRET, **(app or {}))], **{"console": True, **options}
        )
        servers.append(server)
        await server.listen()
        return Page(server)

    yield started
    for server in servers:
        await server.stop()


class TestWhoMayUseIt:
    @pytest.mark.parametrize("path", [*FILES, *QUESTIONS, STREAM])
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Host", "evil.example"),
            ("Host", "evil.example:{port}"),
            ("Host", "localhost"),
            ("Host", None),
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://localhost:1"),
            ("Sec_Fetch_Site", "cross-site"),
            ("X_Forwarded_For", "203.0.113.7"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_foreign_request_for_anything_is_refused(self, make, path, name, value):
        page = await make()
        filled = value and value.format(port=page.server.port)
        status, headers, body = await page.ask("GET", path, **{name: filled})
        # Without a Host a request is not even HTTP/1.1.
        assert status == 403 if value else status in (400, 403)
        assert b"<html" not in body
        assert "access-control-allow-origin" not in headers

    @pytest.mark.parametrize("path", ACTIONS)
    @pytest.mark.parametrize(
        "forged",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://evil.example", "Content_Type": "text/plain"},
            {"Content_Type": "text/plain"},
            {"Content_Type": "application/x-www-form-urlencoded"},
            {"Content_Type": None},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_forged_post_is_refused_and_does_nothing(self, make, path, forged):
        page = await make()
        body = {"app": "3", "channels": ["a"], "event": "e", "data": "d"}
        status, _, _ = await page.ask("POST", path, body, **forged)
        assert status in (403, 415)
        assert [one["kind"] for one in await page.get("/console/events")] == ["refused"]

    @pytest_twisted.ensureDeferred
    async def test_foreign_page_clears_nothing(self, make):
        page = await make()
        await page.post("/console/publish", channels=["a"], event="e", data="d")
        for forged in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            status, _, _ = await page.ask("DELETE", "/console/events", **forged)
            assert status == 403
        assert "e" in [one["event"] for one in await page.get("/console/events")]

    @pytest_twisted.ensureDeferred
    async def test_preflight_of_a_foreign_page_gets_no_permission(self, make):
        page = await make()
        asked = {"Origin": "http://evil.example", "Access_Control_Request_Method": "DELETE"}
        status, headers, _ = await page.ask("OPTIONS", "/console/events", **asked)
        assert status == 403
        assert [name for name in headers if name.startswith("access-control")] == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
    @pytest.mark.parametrize("path", [*FILES, *QUESTIONS])
    @pytest_twisted.ensureDeferred
    async def test_own_names_and_origins_are_let_in(self, make, host, path):
        page = await make()
        own = f"{host}:{page.server.port}"
        status, _, _ = await page.ask("GET", path, Host=own, Origin=f"http://{own}")
        assert status == 200

    @pytest_twisted.ensureDeferred
    async def test_link_of_another_site_opens_the_page(self, make):
        page = await make()
        link = {
            "Sec_Fetch_Site": "cross-site",
            "Sec_Fetch_Mode": "navigate",
            "Sec_Fetch_Dest": "document",
        }
        assert (await page.ask("GET", "/", **link))[0] == 200
        assert (await page.ask("GET", "/console/events", **link))[0] == 403
        framed = {**link, "Sec_Fetch_Dest": "iframe"}
        assert (await page.ask("GET", "/", **framed))[0] == 403

    @pytest_twisted.ensureDeferred
    async def test_told_host_is_let_in_too(self, make):
        page = await make(console=["dev.example:8443"])
        told = {"Host": "dev.example:8443", "Origin": "https://dev.example:8443"}
        status, _, _ = await page.ask("GET", "/console/events", **told, X_Real_IP="203.0.113.7")
        assert status == 200
        assert (await page.ask("GET", "/", Host="other.example:8443"))[0] == 403

    @pytest_twisted.ensureDeferred
    async def test_signed_api_and_websockets_keep_any_host_and_origin(self, make):
        page = await make()
        raw = await connect_raw(page.server.port)
        body = json.dumps({"name": "e", "channel": "a", "data": "d"}).encode()
        request = signed("POST", "/apps/3/events", body)
        foreign = b"Host: evil.example\r\nOrigin: http://evil.example"
        raw.write(request.replace(b"Host: localhost", foreign))
        assert (await raw.response())[0] == 200
        await end(raw)
        raw = await connect_raw(page.server.port)
        raw.write(
            handshake(
                f"/app/{KEY}?protocol=7", Host="evil.example", Origin="http://evil.example"
            )
        )
        assert (await raw.until_has(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await end(raw)
        status, _, _ = await page.ask("GET", "/up", Host="evil.example")
        assert status == 200

    @pytest_twisted.ensureDeferred
    async def test_server_without_console_has_none(self, make):
        page = await make(console=False)
        status, headers, body = await page.ask("GET", "/", Host="evil.example")
        assert (status, json.loads(body)) == (200, {"ok": True})
        assert (await page.ask("GET", "/console/events"))[0] == 404
        assert "content-security-policy" not in headers


class TestPage:
    @pytest.mark.parametrize("path", [*FILES, *QUESTIONS, "/console/other"])
    @pytest_twisted.ensureDeferred
    async def test_every_answer_forbids_frames_and_inline_code(self, make, path):
        page = await make()
        _, headers, _ = await page.ask("GET", path)
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"

    @pytest_twisted.ensureDeferred
    async def test_page_is_small_and_names_nothing_outside(self, make):
        page = await make()
        answers = [(await page.ask("GET", path))[2] for path in FILES]
        assert 10_000 < sum(map(len, answers)) < 100_000
        for text in answers:
            assert b"https://" not in text
            assert b"http://" not in text.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"style=" not in answers[0]
        assert b"<script>" not in answers[0]
        for way in (b"innerHTML", b"outerHTML", b"insertAdjacent", b"document.write", b"eval("):
            assert way not in answers[1]

    @pytest_twisted.ensureDeferred
    async def test_no_secret_is_in_any_answer(self, make):
        hook = "http://user:pa55word@127.0.0.1:9/hook?token=t0ken"
        app = {"encryption_master_key_base64": MASTER_KEY_BASE64, "webhooks": [hook]}
        page = await make(app)
        socket = await open_socket(page.server.port)
        socket.subscribe("private-a")
        await socket.wait("pusher_internal:subscription_succeeded")
        await page.post("/console/publish", channels=["a"], event="e", data="d")
        wrong = Pusher(
            "3", KEY, "wrong-secret", host="127.0.0.1", port=page.server.port, use_tls=False
        )
        with pytest.raises(Exception, match="signature"):
            await wrong.trigger("a", "e", "d")
        await wrong.close()
        everything = b"".join(
            [
                str(answer).encode()
                for answer in [await page.ask("GET", p) for p in [*FILES, *QUESTIONS]]
            ]
        )
        assert b"invalid signature" in everything
        for secret in (SECRET, "wrong-secret", MASTER_KEY_BASE64, "pa55word", "t0ken"):
            assert secret.encode() not in everything
        assert b"auth_signature=" not in everything
        await close(socket)

    @pytest.mark.parametrize(
        ("path", "location"), [("/console", "."), ("/console/", ".."), ("/a/b", "b/")]
    )
    @pytest_twisted.ensureDeferred
    async def test_paths_beside_the_page_lead_to_it(self, make, path, location):
        page = await make(path_prefix="/a/b")
        status, headers, _ = await page.ask("GET", path)
        assert (status, headers["location"]) == (302, location)

    @pytest.mark.parametrize("path", [*FILES, *QUESTIONS])
    @pytest_twisted.ensureDeferred
    async def test_path_prefix_stands_before_everything(self, make, path):
        page = await make(path_prefix="/a/b")
        for prefix in ("", "/a/b"):
            assert (await page.ask("GET", prefix + path))[0] == 200
        assert (await page.ask("GET", "/other" + path))[0] == 404

    @pytest_twisted.ensureDeferred
    async def test_head_has_no_body(self, make):
        page = await make()
        status, _, body = await page.ask("HEAD", "/console/state", Connection="close")
        assert (status, body) == (200, b"")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/", 405),
            ("PUT", "/console/events", 405),
            ("GET", "/console/publish", 405),
            ("POST", "/console/stream", 405),
            ("GET", "/console/other", 404),
            ("GET", "/console/../console/events", 404),
            ("GET", "/console/events?chanel=a", 400),
            ("GET", "/console/events?since=x", 400),
            ("GET", "/console/events?since=-1", 400),
            ("GET", "/console/events?channel=%ff", 400),
            ("GET", "/console/channels?app=other", 404),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_request_that_makes_no_sense_is_refused_in_words(
        self, make, method, path, status
    ):
        page = await make()
        answer = await page.ask(method, path)
        assert answer[0] == status
        assert json.loads(answer[2])["error"]

    @pytest_twisted.ensureDeferred
    async def test_files_of_the_page_are_in_the_package(self):
        names = {file.name for file in files("txpusher.server._console").iterdir()}
        assert {"page.html", "console.js", "console.css", "icon.svg"} <= names


class TestEvents:
    @pytest_twisted.ensureDeferred
    async def test_events_of_api_and_clients_are_listed_with_all_fields(self, make):
        page = await make()
        socket = await open_socket(page.server.port)
        socket.subscribe("private-a")
        await socket.wait("pusher_internal:subscription_succeeded")
        socket.send({"event": "client-x", "channel": "private-a", "data": {"n": 1}})
        pusher = Pusher.from_url(page.server.url("3"))
        await pusher.trigger("private-a", "e", {"hello": "wörld"})
        await pusher.close()
        found = await page.get("/console/events")
        assert [one["kind"] for one in found] == [
            "connected",
            "subscribed",
            "client_event",
            "event",
        ]
        assert [one["id"] for one in found] == [1, 2, 3, 4]
        assert found[3]["channel"] == "private-a"
        assert found[3]["event"] == "e"
        assert json.loads(found[3]["data"]) == {"hello": "wörld"}
        assert found[2]["data"] == '{"n":1}'
        assert found[0]["time"] <= found[3]["time"]
        assert found[0]["channel"] is None
        await close(socket)

    @pytest.mark.parametrize(
        ("query", "events"),
        [
            ("", ["e1", "e2", "e3"]),
            ("channel=a", ["e1", "e3"]),
            ("event=e2", ["e2"]),
            ("channel=a&event=e2", []),
            ("since=1", ["e2", "e3"]),
            ("since=1&channel=a", ["e3"]),
            ("since=3", []),
            ("kind=event&since=2", ["e3"]),
            ("kind=subscribed", []),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_query_narrows_the_list(self, make, query, events):
        page = await make()
        for channel, event in (("a", "e1"), ("b", "e2"), ("a", "e3")):
            await page.post("/console/publish", channels=[channel], event=event, data="")
        found = await page.get(f"/console/events?{query}")
        assert [one["event"] for one in found] == events

    @pytest_twisted.ensureDeferred
    async def test_deleted_events_are_gone_and_ids_go_on(self, make):
        page = await make()
        await page.post("/console/publish", channels=["a"], event="e1", data="")
        assert (await page.ask("DELETE", "/console/events"))[0] == 200
        assert await page.get("/console/events") == []
        await page.post("/console/publish", channels=["a"], event="e2", data="")
        assert [(one["id"], one["event"]) for one in await page.get("/console/events")] == [
            (2, "e2")
        ]

    @pytest_twisted.ensureDeferred
    async def test_new_run_of_the_server_begins_anew(self, make):
        page = await make()
        await page.post("/console/publish", channels=["a"], event="e", data="")
        run = (await page.get("/console/state"))["run"]
        await page.server.stop()
        await page.server.listen()
        assert await page.get("/console/events") == []
        assert (await page.get("/console/state"))["run"] != run

    @pytest_twisted.ensureDeferred
    async def test_refused_request_is_listed_with_reason_headers_and_what_is_signed(self, make):
        page = await make()
        raw = await connect_raw(page.server.port)
        request = signed("GET", "/apps/3/channels").replace(
            b"Host: localhost", b"Host: localhost\r\nUser-Agent: test 7\r\nCookie: id=s3cret"
        )
        raw.write(request.replace(b"auth_signature=", b"auth_signature=0"))
        assert (await raw.response())[0] == 401
        await end(raw)
        (entry,) = await page.get("/console/events?kind=refused")
        assert entry["detail"].startswith("GET /apps/3/channels: 401 invalid signature")
        reason, *to_sign = entry["explanation"].split("\n")
        assert "of these three lines" in reason
        assert to_sign[:2] == ["GET", "/apps/3/channels"]
        assert to_sign[2].startswith(f"auth_key={KEY}&auth_timestamp=")
        assert ["User-Agent", "test 7"] in entry["headers"]
        assert ["Cookie", "(not shown)"] in entry["headers"]

    @pytest_twisted.ensureDeferred
    async def test_refused_handshake_is_listed_with_its_headers(self, make):
        page = await make()
        raw = await connect_raw(page.server.port)
        raw.write(handshake(f"/app/{KEY}?protocol=7", Connection="close"))
        assert (await raw.response())[0] == 400
        await end(raw)
        (entry,) = await page.get("/console/events?kind=refused")
        assert entry["detail"].startswith("no WebSocket handshake")
        assert entry["refusal"] == "no_handshake"
        assert ["Connection", "close"] in entry["headers"]

    @pytest_twisted.ensureDeferred
    async def test_text_that_utf8_cannot_express_is_listed(self, make):
        page = await make()
        socket = await open_socket(page.server.port)
        socket.subscribe("private-a")
        await socket.wait("pusher_internal:subscription_succeeded")
        socket.send('{"event":"client-x","channel":"private-a","data":"\\ud800"}')
        found: list[Any] = []
        while not found:
            found = await page.get("/console/events?kind=client_event")
        assert found[0]["data"] == "\ud800"
        await close(socket)


class Stream:
    """A page's stream, taken apart into messages."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    @classmethod
    async def open(cls, page: Page, query: str = "") -> Stream:
        raw = await connect_raw(page.server.port)
        raw.write(page.request("GET", STREAM + query))
        head = (await raw.until_has(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200")
        assert b"text/event-stream" in head
        return cls(raw)

    def messages(self) -> list[tuple[str, Any]]:
        # Between chunks of HTTP stand their sizes; no message here has a line like it.
        lines = self.raw.received.decode().split("\n")
        found, name = [], ""
        for line in lines[:-1]:
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
        return found

    def events(self) -> list[str]:
        entries = [
            entry for name, value in self.messages() if name == "entries" for entry in value
        ]
        return [entry["event"] for entry in entries]

    def has_events(self) -> bool:
        return bool(self.events())

    async def wait(self, condition: Callable[[], bool]) -> None:
        await self.raw.until(condition)


class TestStream:
    @pytest_twisted.ensureDeferred
    async def test_stream_has_what_was_and_what_comes(self, make):
        page = await make()
        await page.post("/console/publish", channels=["a"], event="before", data="")
        stream = await Stream.open(page)
        await page.post("/console/publish", channels=["a"], event="after", data="")
        await stream.wait(lambda: stream.events() == ["before", "after"])
        assert stream.messages()[0][0] == "hello"
        await end(stream.raw)

    @pytest_twisted.ensureDeferred
    async def test_stream_goes_on_after_the_entry_that_the_page_has(self, make):
        page = await make()
        for event in ("e1", "e2"):
            await page.post("/console/publish", channels=["a"], event=event, data="")
        run = (await page.get("/console/state"))["run"]
        for query, events in [
            (f"?run={run}&since=1", ["e2"]),
            ("?run=another&since=1", ["e1", "e2"]),
        ]:
            stream = await Stream.open(page, query)
            await stream.wait(stream.has_events)
            assert stream.events() == events
            await end(stream.raw)

    @pytest_twisted.ensureDeferred
    async def test_clearing_and_counts_are_told(self, make):
        page = await make()
        stream = await Stream.open(page)
        socket = await open_socket(page.server.port)
        socket.subscribe("a")
        counts = ("counts", {"channels": 1, "connections": 1})
        await stream.wait(lambda: counts in stream.messages())
        await page.ask("DELETE", "/console/events")
        await stream.wait(lambda: ("cleared", {"id": 2}) in stream.messages())
        await close(socket)
        await end(stream.raw)

    @pytest_twisted.ensureDeferred
    async def test_page_that_does_not_read_costs_no_memory_and_goes_on(self, make, monkeypatch):
        page = await make()
        stream = await Stream.open(page)
        stream.raw.transport.pauseProducing()
        pusher = Pusher.from_url(page.server.url("3"))
        for number in range(1500):
            await pusher.trigger("a", f"e{number}", "x" * 10_000)
        await pusher.close()
        stream.raw.transport.resumeProducing()
        await stream.wait(lambda: b'"e1499"' in stream.raw.received)
        events = [int(event[1:]) for event in stream.events()]
        assert events == sorted(set(events))
        # What the kernel had room for, and the newest thousand.
        assert events[-1000:] == list(range(500, 1500))
        assert len(events) < 1500
        await end(stream.raw)

    @pytest_twisted.ensureDeferred
    async def test_silent_stream_is_kept_alive(self, make, monkeypatch):
        monkeypatch.setattr(limits, "CONSOLE_SILENCE", 0.0)
        page = await make()
        stream = await Stream.open(page)
        await stream.wait(lambda: b"\n:\n" in stream.raw.received)
        await end(stream.raw)

    @pytest_twisted.ensureDeferred
    async def test_streams_are_bounded(self, make, monkeypatch):
        monkeypatch.setattr(limits, "CONSOLE_STREAMS", 1)
        page = await make()
        stream = await Stream.open(page)
        assert (await page.ask("GET", STREAM))[0] == 503
        await end(stream.raw)
        # The server hears of the end a little later.
        status = 503
        while status == 503:
            raw = await connect_raw(page.server.port)
            raw.write(page.request("GET", STREAM))
            status = int((await raw.until_has(b"\r\n\r\n")).split()[1])
            await end(raw)
        assert status == 200

    @pytest_twisted.ensureDeferred
    async def test_stopping_server_ends_its_streams(self, make):
        page = await make()
        stream = await Stream.open(page)
        await page.server.stop()
        await stream.raw.lost


class TestActions:
    @pytest_twisted.ensureDeferred
    async def test_event_goes_to_all_channels_but_not_to_the_connection_left_out(self, make):
        page = await make()
        one, other = await open_socket(page.server.port), await open_socket(page.server.port)
        for socket in (one, other):
            socket.subscribe("a")
            socket.subscribe("b")
            await socket.wait("pusher_internal:subscription_succeeded", 2)
        answer = await page.post(
            "/console/publish",
            channels=["a", "b"],
            event="e",
            data="d",
            socket_id=one.socket_id,
        )
        assert answer == (200, {})
        assert [m["channel"] for m in await other.wait("e", 2)] == ["a", "b"]
        await page.post("/console/publish", channels=["a"], event="last", data="d")
        await one.wait("last")
        assert one.got("e") == []
        for socket in (one, other):
            await close(socket)

    @pytest_twisted.ensureDeferred
    async def test_event_to_a_user_arrives(self, make):
        page = await make()
        socket = await open_socket(page.server.port)
        self.sign_in(socket, "ada")
        await socket.wait("pusher:signin_success")
        socket.subscribe("#server-to-user-ada")
        await socket.wait("pusher_internal:subscription_succeeded")
        await page.post("/console/publish", user="ada", event="mail", data="d")
        assert (await socket.wait("mail"))[0]["data"] == "d"
        await close(socket)

    @staticmethod
    def sign_in(socket: Any, user_id: str) -> None:
        pusher = Pusher("3", KEY, SECRET)
        socket.send(
            {
                "event": "pusher:signin",
                "data": pusher.authenticate_user(socket.socket_id, {"id": user_id}),
            }
        )

    @pytest.mark.parametrize(
        ("fields", "status", "words"),
        [
            ({"channels": ["a b"], "event": "e", "data": "d"}, 400, "a b"),
            ({"channels": [], "event": "e", "data": "d"}, 400, "channels"),
            ({"channels": "a", "event": "e", "data": "d"}, 400, "array"),
            ({"event": "e", "data": "d"}, 400, "channel"),
            ({"channels": ["a"], "data": "d"}, 400, "event"),
            ({"channels": ["a"], "event": "e", "data": {}}, 400, "data must be a string"),
            ({"channels": ["a"], "event": "e", "data": "x" * 10_241}, 413, "10241"),
            (
                {"channels": ["a"], "event": "e", "data": "d", "socket_id": "x"},
                400,
                "socket_id",
            ),
            ({"channels": ["a"], "event": "e", "data": "d", "app": "4"}, 404, "no app"),
            ({"channels": [1, None], "event": 1, "data": None, "app": None}, 404, "no app"),
            (
                {"channels": ["private-encrypted-a"], "event": "e", "data": "d"},
                400,
                "was not given the master key",
            ),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_event_that_the_api_would_refuse_is_refused(
        self, make, fields, status, words
    ):
        page = await make()
        answer = await page.post("/console/publish", **fields)
        assert answer[0] == status
        assert words in answer[1]["error"]

    @pytest_twisted.ensureDeferred
    async def test_body_that_is_no_json_object_is_refused(self, make):
        page = await make()
        status, _, body = await page.ask("POST", "/console/publish", [1])
        assert (status, "JSON object" in json.loads(body)["error"]) == (400, True)

    @pytest_twisted.ensureDeferred
    async def test_encrypted_channel_is_sent_encrypted_and_shown_in_clear(self, make):
        page = await make({"encryption_master_key_base64": MASTER_KEY_BASE64})
        channel = "private-encrypted-a"
        pusher = Pusher.from_url(
            page.server.url("3"), encryption_master_key_base64=MASTER_KEY_BASE64
        )
        await pusher.trigger(channel, "e1", {"n": 1})
        await pusher.close()
        answer = await page.post(
            "/console/publish", channels=[channel], event="e2", data="hello"
        )
        assert answer == (200, {})
        await page.post("/console/publish", channels=[channel], event="e3", data="\ud800")
        clear = Pusher.from_url(page.server.url("3"))
        await clear.post("/events", {"name": "e4", "channel": channel, "data": "not encrypted"})
        await clear.close()
        found = await page.get("/console/events?kind=event")
        assert [(one["event"], one["decrypted"]) for one in found] == [
            ("e1", '{"n":1}'),
            ("e2", "hello"),
            ("e4", None),
        ]
        assert set(json.loads(found[1]["data"])) == {"nonce", "ciphertext"}
        (state,) = (await page.get("/console/state"))["apps"]
        assert state == {"id": "3", "key": KEY, "decrypts": True}

    @pytest_twisted.ensureDeferred
    async def test_client_event_is_sent_as_the_client(self, make):
        page = await make()
        one, other = await open_socket(page.server.port), await open_socket(page.server.port)
        for socket in (one, other):
            socket.subscribe("private-a")
            await socket.wait("pusher_internal:subscription_succeeded")
        fields = {"socket_id": one.socket_id, "channel": "private-a", "data": "d"}
        answer = await page.post("/console/client-event", event="client-x", **fields)
        assert answer == (200, {})
        assert (await other.wait("client-x"))[0]["data"] == "d"
        for wrong, status in [
            ({"event": "x"}, 400),
            ({"event": "client-x", "channel": "private-other"}, 400),
            ({"event": "client-x", "socket_id": "1.1"}, 404),
            ({"event": "client-x", "app": "4"}, 404),
        ]:
            answer = await page.post("/console/client-event", **{**fields, **wrong})
            assert answer[0] == status
        # The client itself has done nothing wrong, and hears of nothing.
        assert one.got("pusher:error") == []
        for socket in (one, other):
            await close(socket)

    @pytest_twisted.ensureDeferred
    async def test_connection_is_terminated(self, make):
        page = await make()
        one, other = await open_socket(page.server.port), await open_socket(page.server.port)
        assert (await page.post("/console/terminate", socket_id=one.socket_id)) == (200, {})
        assert await one.end() == 4009
        assert (await page.post("/console/terminate", socket_id=one.socket_id))[0] == 404
        rows = (await page.get("/console/connections"))["rows"]
        assert [row["socket_id"] for row in rows] == [other.socket_id]
        await close(other)

    @pytest_twisted.ensureDeferred
    async def test_user_that_utf8_cannot_express_is_refused(self, make):
        page = await make()
        assert await page.post("/console/terminate", user="\ud800") == (
            400,
            {"error": "user must be text that UTF-8 can express"},
        )

    @pytest_twisted.ensureDeferred
    async def test_connections_of_a_user_are_terminated(self, make):
        page = await make()
        sockets = [await open_socket(page.server.port) for _ in range(3)]
        for socket, user_id in zip(sockets, ["a/b", "a/b", "c"], strict=True):
            self.sign_in(socket, user_id)
            await socket.wait("pusher:signin_success")
        assert (await page.post("/console/terminate", user="a/b")) == (200, {})
        assert [await socket.end() for socket in sockets[:2]] == [4009, 4009]
        assert sockets[2].close_code is None
        await close(sockets[2])

    @pytest_twisted.ensureDeferred
    async def test_trouble_on_request_leaves_the_console_alone(self, make):
        page = await make()
        page.server.trouble.error_rate = 1
        for _ in range(3):
            answer = await page.post("/console/publish", channels=["a"], event="e", data="d")
            assert answer == (200, {})


class TestWebhooks:
    @pytest_twisted.ensureDeferred
    async def test_webhook_is_listed_with_status_and_repeated_byte_for_byte(self, make):
        from twisted.internet import reactor

        receiver = Receiver()
        receiver.statuses = [500]
        port: Any = reactor.listenTCP(0, Site(receiver), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/hook"
        page = await make({"webhooks": [url], "subscription_counts": False})
        socket = await open_socket(page.server.port)
        socket.subscribe("a")
        await receiver.wait(2)
        hooks: list[Any] = [{"state": "repeating"}]
        while hooks[0]["state"] != "accepted":
            hooks = await page.get("/console/webhooks")
        assert [hook["events"] for hook in hooks] == ["channel_occupied a"]
        assert hooks[0]["url"] == url
        assert json.loads(hooks[0]["body"])["events"][0]["channel"] == "a"
        results = [attempt["result"] for attempt in hooks[0]["attempts"]]
        assert results == ["status 500", "status 200"]
        assert (await page.post("/console/webhooks/repeat", id=hooks[0]["id"])) == (200, {})
        await receiver.wait(3)
        assert len(set(receiver.bodies)) == 1
        signatures = {
            request.requestHeaders.getRawHeaders("X-Pusher-Signature")[0]
            for request in receiver.requests
        }
        assert len(signatures) == 1
        assert (await page.post("/console/webhooks/repeat", id=99))[0] == 404
        assert (await page.post("/console/webhooks/repeat", id="1"))[0] == 404
        await close(socket)
        await maybeDeferred(port.stopListening)


@pytest_twisted.ensureDeferred
async def test_hostile_names_are_answered_as_json(make: Make) -> None:
    page = await make()
    socket = await open_socket(page.server.port)
    hostile = '<img src=x onerror="alert(1)">'
    socket.subscribe("presence-a", {"user_id": hostile, "user_info": {"name": hostile}})
    await socket.wait("pusher_internal:subscription_succeeded")
    await page.post("/console/publish", channels=["presence-a"], event=hostile, data=hostile)
    for path in QUESTIONS:
        _, headers, _ = await page.ask("GET", path)
        assert headers["content-type"] == "application/json"
    found = await page.get(f"/console/events?event={quote(hostile)}")
    assert [one["data"] for one in found] == [hostile]
    await close(socket)
