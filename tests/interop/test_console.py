"""The console in a real browser, with pusher-js clients, a library's events and webhooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.certificates import Authority
from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.serving import serving
from tests.support.waiting import pause
from txpusher import BatchPublisher, Pusher

from . import browser
from .requirements import HERE, import_or_skip
from .servers import APP_ID, KEY, SECRET, Address

#: Milliseconds in which what happens is on view.
SOON = 1_000

Run = Callable[[Callable[[], Awaitable[Any]]], Any]
Visit = Callable[[Any, Run], Any]


class Hook(Resource):
    """
    A program that takes webhooks.

    :ivar bodies: What it was sent.
    :ivar status: What it answers.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.status = 200

    def render_POST(self, request: Any) -> bytes:
        self.bodies.append(request.content.read())
        request.setResponseCode(self.status)
        return b""


class Console:
    """
    A running server with a console.

    :ivar hook: Takes the server's webhooks.
    """

    def __init__(self, server: Any, hook: Hook) -> None:
        self.server = server
        self.hook = hook

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/"

    async def visit(self, act: Visit, url: str = "", **options: Any) -> Any:
        """
        Open the page, and act on it in a thread.

        :param act: Called with the page, and with a function that runs a coroutine function
            in the reactor and waits for it.
        :param options: Playwright's, of the window.
        """
        from twisted.internet import reactor

        path = browser.chromium()

        def run(function: Callable[[], Awaitable[Any]]) -> Any:
            async def begin() -> Any:
                return await function()

            return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(begin()))

        def drive() -> Any:
            with (
                browser.browsing(path) as chromium,
                browser.window(chromium, **options) as page,
            ):
                page.goto(url or self.url)
                page.locator("#status[data-state=live]").wait_for()
                return act(page, run)

        return await browser.drive(drive)


@pytest_twisted.async_yield_fixture
async def console() -> AsyncIterator[Console]:
    from twisted.internet import reactor

    import_or_skip("wsproto")
    package = import_or_skip("txpusher.server")
    hook = Hook()
    port: Any = reactor.listenTCP(0, Site(hook), interface="127.0.0.1")
    app = package.App(
        APP_ID,
        KEY,
        SECRET,
        webhooks=[
            package.WebHookTarget(
                f"http://127.0.0.1:{port.getHost().port}/hook", events=["channel_occupied"]
            )
        ],
        encryption_master_key_base64=MASTER_KEY_BASE64,
    )
    server = package.ChannelsServer([app], console=True)
    await server.listen()
    yield Console(server, hook)
    await server.stop()
    await maybeDeferred(port.stopListening)


@pytest.fixture
def server(console: Console) -> Address:
    return Address(console.server.port, url=console.server.url(APP_ID))


def rows(page: Any, text: str = "") -> Any:
    return page.get_by_test_id("event-row").filter(has_text=text)


def texts(page: Any, column: str = "event") -> list[str]:
    return page.locator(f"#rows .{column}").all_inner_texts()


def publish(page: Any, channel: str, event: str, data: str) -> None:
    if page.get_by_test_id("trigger-send").is_hidden():
        page.get_by_role("button", name="Publish").click()
    page.get_by_test_id("trigger-channel").fill(channel)
    page.get_by_test_id("trigger-event").fill(event)
    page.get_by_test_id("trigger-data").fill(data)
    page.get_by_test_id("trigger-send").click()


@pytest_twisted.ensureDeferred
async def test_events_of_pusher_js_and_of_the_api_appear_within_a_second(
    console, pusher, connect
):
    subscriber = await connect()

    def act(page: Any, run: Run) -> Any:
        page.set_default_timeout(SOON)
        run(lambda: subscriber.subscribe("private-room"))
        rows(page, "subscribed").filter(has_text="private-room").wait_for()
        run(lambda: subscriber.trigger("private-room", "client-typing", {"user": "Ada"}))
        rows(page, "client-typing").wait_for()
        run(lambda: pusher.trigger("private-room", "created", {"n": [1, 2.50, None]}))
        rows(page, "created").click()
        detail = page.get_by_test_id("detail")
        detail.wait_for()
        return {
            "title": page.locator("#dock-title").inner_text(),
            "payload": page.get_by_test_id("payload").inner_text(),
            "row": rows(page, "created").inner_text().split("\n"),
            "who": rows(page, "client-typing").locator(".who").inner_text(),
        }

    seen = await console.visit(act)
    assert seen["title"] == "created"
    assert json.loads(seen["payload"]) == {"n": [1, 2.5, None]}
    assert seen["row"][1:4] == ["event", "private-room", "created"]
    assert seen["who"] == subscriber.socket_id


@pytest_twisted.ensureDeferred
async def test_filter_kind_and_ignored_narrow_the_table(console, pusher, connect):
    await connect()
    for channel, event in [("orders", "created"), ("orders", "paid"), ("stock", "created")]:
        await pusher.trigger(channel, event, {})

    def act(page: Any, run: Run) -> Any:
        seen = {}
        rows(page, "paid").wait_for()
        page.get_by_test_id("filter").fill("ORDERS")
        seen["one word"] = texts(page)
        page.get_by_test_id("filter").fill("orders created")
        seen["two words"] = texts(page)
        page.get_by_test_id("filter").fill("-orders created")
        seen["without"] = texts(page, "channel")
        page.get_by_test_id("filter").fill("")
        page.locator("#kind").select_option("connected")
        seen["kind"] = texts(page, "kind")
        page.locator("#kind").select_option("+events")
        rows(page, "paid").click()
        page.get_by_role("button", name="Ignore event").click()
        seen["ignored"] = texts(page)
        run(lambda: pusher.trigger("orders", "paid", {}))
        run(lambda: pusher.trigger("orders", "sent", {}))
        rows(page, "sent").wait_for()
        seen["later"] = texts(page)
        page.get_by_role("button", name="without event paid").click()
        seen["again"] = texts(page)
        return seen

    assert await console.visit(act) == {
        "one word": ["paid", "created"],
        "two words": ["created"],
        "without": ["stock"],
        "kind": ["connected"],
        "ignored": ["created", "created"],
        "later": ["sent", "created", "created"],
        "again": ["sent", "paid", "created", "paid", "created"],
    }


@pytest_twisted.ensureDeferred
async def test_pause_holds_the_table_still_and_clear_empties_it_for_all(console, pusher):
    def act(page: Any, run: Run) -> Any:
        seen = {}
        run(lambda: pusher.trigger("a", "first", {}))
        rows(page, "first").wait_for()
        page.get_by_test_id("pause").click()
        run(lambda: pusher.trigger("a", "second", {}))
        page.get_by_text("Resume (1 new)").wait_for()
        seen["paused"] = texts(page)
        page.get_by_test_id("pause").click()
        rows(page, "second").wait_for()
        seen["resumed"] = texts(page)
        page.get_by_test_id("clear").click()
        page.get_by_text("Nothing has happened yet").wait_for()
        seen["cleared"] = texts(page)
        page.reload()
        page.locator("#status[data-state=live]").wait_for()
        run(lambda: pusher.trigger("a", "third", {}))
        rows(page, "third").wait_for()
        seen["reloaded"] = texts(page)
        return seen

    assert await console.visit(act) == {
        "paused": ["first"],
        "resumed": ["second", "first"],
        "cleared": [],
        "reloaded": ["third"],
    }


@pytest_twisted.ensureDeferred
async def test_form_publishes_to_pusher_js_and_keeps_its_history(console, connect):
    one, other = await connect(), await connect()
    for subscriber in (one, other):
        await subscriber.subscribe("orders", "stock", "private-encrypted-notes")

    def act(page: Any, run: Run) -> Any:
        seen = {}
        publish(page, "orders, stock", "created", '{"n": 1}')
        seen["data"] = [
            run(lambda: one.event("orders", "created")),
            run(lambda: one.event("stock", "created")),
        ]
        rows(page, "created").first.wait_for()
        page.locator("#socket").fill(one.socket_id)
        publish(page, "orders", "secret", "text")
        seen["other"] = run(lambda: other.event("orders", "secret"))
        page.locator("#socket").fill("")
        publish(page, "private-encrypted-notes", "written", '{"for": "us"}')
        seen["encrypted"] = run(lambda: one.event("private-encrypted-notes", "written"))
        rows(page, "written").click()
        page.get_by_text("Data (decrypted)").wait_for()
        seen["clear"] = page.get_by_test_id("payload").inner_text()
        publish(page, "a b", "e", "")
        page.locator("#sent.bad").wait_for()
        seen["refused"] = page.locator("#sent").inner_text()
        page.locator("#history button").last.click()
        seen["history"] = page.locator("#history button").count()
        seen["refilled"] = page.get_by_test_id("trigger-channel").input_value()
        page.reload()
        page.get_by_role("button", name="Publish").click()
        seen["kept"] = page.locator("#history button").count()
        return seen

    seen = await console.visit(act)
    assert "a b" in seen.pop("refused")
    assert json.loads(seen.pop("clear")) == {"for": "us"}
    assert seen == {
        "data": [{"n": 1}, {"n": 1}],
        "other": "text",
        "encrypted": {"for": "us"},
        "history": 3,
        "refilled": "orders, stock",
        "kept": 3,
    }
    # Sent to the other alone, though one has had the event after it.
    assert ("secret", "text") not in one.events("orders")


@pytest_twisted.ensureDeferred
async def test_form_publishes_to_a_user_and_as_a_client(console, connect):
    ada = await connect(user={"id": "ada"})
    await ada.sign_in()
    other = await connect()
    for subscriber in (ada, other):
        await subscriber.subscribe("private-room")

    def act(page: Any, run: Run) -> Any:
        page.get_by_role("button", name="Publish").click()
        page.locator("#mode").select_option("user")
        publish(page, "ada", "mail", '"hello"')
        mail = run(lambda: ada.user_event("mail"))
        page.locator("#mode").select_option("client")
        page.locator("#socket").fill(ada.socket_id)
        publish(page, "private-room", "client-typing", '{"n": 1}')
        return mail, run(lambda: other.event("private-room", "client-typing"))

    assert await console.visit(act) == ("hello", {"n": 1})


@pytest_twisted.ensureDeferred
async def test_channels_and_connections_are_listed_and_terminated(console, connect):
    ada = await connect(member={"user_id": "ada", "user_info": {"name": "Ada"}})
    grace = await connect(member={"user_id": "grace"})
    await ada.subscribe("presence-room", "news")

    def act(page: Any, run: Run) -> Any:
        seen = {}
        page.get_by_role("button", name="Channels").click()
        channel = page.get_by_test_id("channel-row").filter(has_text="presence-room")
        channel.get_by_text("1 user", exact=False).first.wait_for()
        run(lambda: grace.subscribe("presence-room"))
        channel.get_by_text("2 subscriptions · 2 users").wait_for()
        seen["members"] = channel.locator(".marks .kind").all_inner_texts()
        seen["channels"] = page.get_by_test_id("channel-row").count()
        page.get_by_role("button", name="Connections").click()
        connection = page.get_by_test_id("connection-row").filter(has_text=ada.socket_id)
        connection.wait_for()
        seen["connection"] = connection.inner_text()
        connection.get_by_role("button", name="Terminate").click()
        run(lambda: ada.state("disconnected"))
        connection.wait_for(state="detached")
        seen["left"] = page.get_by_test_id("connection-row").count()
        return seen

    seen = await console.visit(act)
    assert "present as ada" in seen.pop("connection")
    assert seen == {"members": ["ada", "grace"], "channels": 2, "left": 1}


@pytest_twisted.ensureDeferred
async def test_webhook_is_shown_with_its_status_and_repeated(console, connect):
    subscriber = await connect()
    console.hook.status = 500

    def act(page: Any, run: Run) -> Any:
        page.get_by_role("button", name="Webhooks").click()
        page.get_by_text("No request was sent").wait_for()
        run(lambda: subscriber.subscribe("a"))
        row = page.get_by_test_id("webhook-row")
        row.get_by_text("status 500").wait_for()
        state = row.get_attribute("data-state")
        console.hook.status = 200
        row.get_by_text("status 200").wait_for()
        before = len(console.hook.bodies)
        row.get_by_role("button", name="Repeat").click()
        row.get_by_text(f"and {before + 1} attempts").wait_for()
        return state, row.get_attribute("data-state"), before

    before, after, count = await console.visit(act)
    assert (before, after) == ("repeating", "accepted")
    assert len(console.hook.bodies) == count + 1
    assert len(set(console.hook.bodies)) == 1


@pytest_twisted.ensureDeferred
async def test_refused_request_is_shown_with_what_had_to_be_signed(console):
    wrong = Pusher(
        APP_ID, KEY, "wrong", host="127.0.0.1", port=console.server.port, use_tls=False
    )

    async def refused() -> None:
        with pytest.raises(Exception, match="signature"):
            await wrong.trigger("a", "e", {})

    def act(page: Any, run: Run) -> Any:
        run(refused)
        rows(page, "refused").click()
        return page.get_by_test_id("detail").inner_text()

    shown = await console.visit(act)
    await wrong.close()
    assert "invalid signature" in shown
    assert f"POST\n/apps/{APP_ID}/events\nauth_key={KEY}&auth_timestamp=" in shown
    assert "User-Agent" in shown


@pytest_twisted.ensureDeferred
async def test_hostile_names_and_payloads_stay_text(console, pusher, connect):
    hostile = (
        '<img src=x onerror="document.title=1"><script>document.title=1</script>\u202e\u2028'
    )
    member = {"user_id": hostile, "user_info": {"name": hostile, "__proto__": {"x": 1}}}
    subscriber = await connect(member=member)
    await subscriber.subscribe("presence-room")
    data = json.dumps({hostile: hostile, "constructor": [hostile]})
    for sent in (data, hostile, "{" * 5000, '"\\ud800"', "'; rm -rf / #"):
        await pusher.trigger("presence-room", hostile, sent)

    def act(page: Any, run: Run) -> Any:
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        rows(page, "event").nth(4).wait_for()
        for place in range(page.get_by_test_id("event-row").count()):
            page.get_by_test_id("event-row").nth(place).click()
            for tab in page.locator("#detail .tabs button:not(.copy)").all():
                tab.click()
        rows(page, "event").nth(4).click()
        payload = page.get_by_test_id("payload").inner_text()
        for name in ("Channels", "Connections", "Webhooks"):
            page.get_by_role("button", name=name).click()
            page.locator(f"#{name.lower()} li").first.wait_for()
            for summary in page.locator(f"#{name.lower()} summary").all():
                summary.click()
        page.get_by_test_id("filter").fill(hostile)
        return {
            "problems": problems,
            "images": page.locator("img").count(),
            "scripts": page.locator("script").count(),
            "title": page.title(),
            "payload": payload,
        }

    seen = await console.visit(act)
    payload = seen.pop("payload")
    assert json.loads(payload) == json.loads(data)
    assert seen == {"problems": [], "images": 1, "scripts": 1, "title": "txpusher console"}


@pytest_twisted.ensureDeferred
async def test_ten_thousand_events_leave_the_page_responsive(console, pusher):
    publisher = BatchPublisher(pusher)
    events = (
        {"channel": f"c{n % 7}", "name": f"e{n}", "data": {"n": n}} for n in range(10_000)
    )

    async def all_sent() -> int:
        return (await publisher.publish(events)).accepted

    def act(page: Any, run: Run) -> Any:
        page.evaluate(
            """() => {
                window.longest = 0;
                let before = performance.now();
                const frame = (now) => {
                    window.longest = Math.max(window.longest, now - before);
                    before = now;
                    requestAnimationFrame(frame);
                };
                requestAnimationFrame(frame);
            }"""
        )
        accepted = run(all_sent)
        rows(page).filter(has_text="e9999").wait_for()
        longest = page.evaluate("window.longest")
        count = rows(page).count()
        page.get_by_test_id("filter").fill("e9998")
        return accepted, count, texts(page), longest

    accepted, count, found, longest = await console.visit(act)
    print(f"the longest frame took {longest:.0f} ms")
    assert (accepted, count, found) == (10_000, 1000, ["e9998"])
    # Nothing that a hand would notice for long, on a machine that is busy with the suite.
    assert longest < 2_000


@pytest_twisted.ensureDeferred
async def test_page_finds_the_server_again_after_a_new_start(console, pusher):
    await pusher.trigger("a", "before", {})
    port = console.server.port

    async def restart() -> None:
        await console.server.stop()
        await console.server.listen(port)

    def act(page: Any, run: Run) -> Any:
        rows(page, "before").wait_for()
        run(restart)
        rows(page, "before").wait_for(state="detached")
        page.locator("#status[data-state=live]").wait_for()
        run(lambda: pusher.trigger("a", "after", {}))
        rows(page, "after").wait_for()
        return texts(page)

    assert await console.visit(act) == ["after"]


@pytest_twisted.ensureDeferred
async def test_keyboard_reaches_everything(console, pusher):
    for number in range(3):
        await pusher.trigger("a", f"e{number}", {})

    def act(page: Any, run: Run) -> Any:
        seen = []
        rows(page, "e2").wait_for()
        press = page.keyboard.press
        for key in ("j", "j", "k"):
            press(key)
            seen.append(page.locator("#dock-title").inner_text())
        press("Escape")
        seen.append(page.locator("#dock").is_visible())
        press("/")
        page.keyboard.type("e1p")
        seen.append(page.get_by_test_id("filter").input_value())
        press("Escape")
        press("Escape")
        press("p")
        seen.append(page.get_by_test_id("pause").get_attribute("aria-pressed"))
        for key in "cown":
            press(key)
            seen.append(page.locator("nav [aria-expanded=true]").get_attribute("aria-label"))
            press("Escape")
            press("Escape")
        press("?")
        page.get_by_role("dialog").wait_for()
        press("Escape")
        press("x")
        page.get_by_text("Nothing has happened yet").wait_for()
        return seen

    assert await console.visit(act) == [
        *("e2", "e1", "e2", False, "e1p", "true"),
        *("Channels", "Connections", "Webhooks", "Publish"),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest_twisted.ensureDeferred
async def test_page_fits_a_telephone_in_light_and_in_dark(
    console, pusher, connect, scheme, tmp_path
):
    await connect()
    await pusher.trigger("x" * 150, "y" * 150, {"z": "z" * 500})

    def act(page: Any, run: Run) -> Any:
        rows(page, "yyy").click()
        widths = []
        for name in (None, "Channels", "Connections", "Webhooks", "Publish", "Snippet"):
            if name:
                page.get_by_role("button", name=name).click()
            page.screenshot(path=tmp_path / f"{name}.png")
            widths.append(page.evaluate("document.documentElement.scrollWidth"))
            widths.append(page.evaluate("document.querySelector('#dock').scrollWidth"))
        return max(widths), page.evaluate("getComputedStyle(document.body).backgroundColor")

    window = {"viewport": {"width": 400, "height": 780}, "color_scheme": scheme}
    width, colour = await console.visit(act, **window)
    assert width == 400
    brightness = sum(int(part) for part in colour[4:-1].split(","))
    assert (brightness > 384) is (scheme == "light")


class TestOtherPages:
    """What a page on the internet can have a browser do."""

    ATTACK = """
        <!doctype html><title>attack</title>
        <iframe name="target"></iframe>
        <form id="form" method="post" target="target" enctype="text/plain"></form>
        <script>
        const event = {app: "interop-app", channels: ["a"], event: "forged", data: ""};
        const body = JSON.stringify(event);

        async function tell(promise) {
            try {
                const answer = await promise;
                return answer.type + (await answer.text());
            } catch (error) {
                return String(error);
            }
        }

        function listen(url) {
            const stream = new EventSource(url);
            return new Promise((done) => {
                stream.onopen = () => done("open");
                stream.onerror = () => { stream.close(); done("TypeError"); };
            });
        }

        async function attack(base) {
            const found = [];
            for (const path of ["", "console/events", "console/state"]) {
                found.push(await tell(fetch(base + path)));
                found.push(await tell(fetch(base + path, {mode: "no-cors"})));
            }
            const post = {method: "POST", body};
            const json = {"Content-Type": "application/json"};
            const url = base + "console/publish";
            found.push(await tell(fetch(url, {...post, headers: json})));
            found.push(await tell(fetch(url, {...post, mode: "no-cors"})));
            found.push(await tell(fetch(base + "console/events", {method: "DELETE"})));
            found.push(await listen(base + "console/stream"));
            const input = document.createElement("input");
            input.name = body.slice(0, -1) + ',"x":"';
            input.value = '"}';
            const form = document.getElementById("form");
            form.action = url;
            form.append(input);
            form.submit();
            return found;
        }
        </script>"""

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", browser.ELSEWHERE])
    @pytest_twisted.ensureDeferred
    async def test_other_page_learns_nothing_and_does_nothing(self, console, pusher, host):
        await pusher.trigger("a", "kept", {"n": "only-ours"})
        foreign = Page(self.ATTACK.encode())
        path = browser.chromium()

        def drive(port: int) -> tuple[list[str], str]:
            with browser.browsing(path) as chromium, browser.window(chromium) as page:
                page.goto(f"http://{host}:{port}/")
                found = page.evaluate("(base) => attack(base)", console.url)
                page.wait_for_timeout(300)
                page.goto(console.url)
                rows(page, "kept").wait_for()
                return found, "".join(texts(page))

        async with serving(foreign) as port:
            found, events = await browser.drive(drive, port)
        assert len(found) == 10
        assert "only-ours" not in str(found)
        for answer in found:
            assert answer.startswith(("TypeError", "opaque")), answer
        assert events == "kept"

    @pytest_twisted.ensureDeferred
    async def test_page_cannot_be_framed(self, console):
        foreign = Page(f'<iframe src="{console.url}"></iframe>'.encode())
        path = browser.chromium()

        def drive(port: int) -> list[int]:
            with browser.browsing(path) as chromium, browser.window(chromium) as page:
                page.goto(f"http://127.0.0.1:{port}/")
                page.wait_for_timeout(300)
                return [frame.locator("#filter").count() for frame in page.frames]

        async with serving(foreign) as port:
            assert await browser.drive(drive, port) == [0, 0]

    @pytest_twisted.ensureDeferred
    async def test_name_that_was_made_lead_here_opens_nothing(self, console):
        path = browser.chromium()
        url = console.url.replace("127.0.0.1", browser.ELSEWHERE)

        def drive() -> tuple[int, str]:
            with browser.browsing(path) as chromium, browser.window(chromium) as page:
                return page.goto(url).status, page.locator("body").inner_text()

        status, text = await browser.drive(drive)
        assert status == 403
        assert "answers to" in text


class Page(Resource):
    """A page of someone else."""

    isLeaf = True

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text

    def render_GET(self, request: Any) -> bytes:
        return self._text


@pytest_twisted.ensureDeferred
async def test_console_works_behind_tls_and_a_path_prefix(tmp_path):
    import_or_skip("wsproto")
    package = import_or_skip("txpusher.server")
    pem = tmp_path / "server.pem"
    Authority().write_pem(pem, "127.0.0.1")
    server = package.ChannelsServer(
        [package.App(APP_ID, KEY, SECRET)], console=True, path_prefix="/channels"
    )
    await server.listen_on(f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}")
    console = Console(server, Hook())

    def act(page: Any, run: Run) -> Any:
        publish(page, "a", "e", "text")
        rows(page, "text").wait_for()
        page.get_by_role("button", name="Snippet").click()
        return page.url, page.get_by_test_id("code").last.inner_text()

    url = f"https://127.0.0.1:{server.port}/channels"
    where, code = await console.visit(act, url, ignore_https_errors=True)
    assert where == f"{url}/"
    assert f"wssPort: {server.port}" in code
    assert 'wsPath: "/channels"' in code
    assert "forceTLS: true" in code
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_code_to_copy_runs_as_it_is(console, pusher, connect, node):
    subscriber = await connect()
    await subscriber.subscribe("private-room", "room")
    text = 'it\'s "$(touch here)" `id` \n ü😀\u2028\u202e!!'
    data = json.dumps({"text": text}, ensure_ascii=False)
    await pusher.trigger("room", "what's \\new", data)
    assert await subscriber.event("room", "what's \\new") == json.loads(data)
    await subscriber.trigger("private-room", "client-typing", {"n": 1})

    def act(page: Any, run: Run) -> Any:
        rows(page, "what's").click()
        codes = {}
        for language in ("curl", "Python", "pusher-js"):
            page.locator("#detail").get_by_role("button", name=language, exact=True).click()
            codes[language] = page.locator("#detail").get_by_test_id("code").inner_text()
        rows(page, "client-typing").click()
        codes["client"] = page.locator("#detail").get_by_test_id("code").inner_text()
        return codes

    codes = await console.visit(act)
    environment = {**os.environ, "PUSHER_URL": console.server.url(APP_ID)}
    for command in (["bash", "-c", codes["curl"]], [sys.executable, "-c", codes["Python"]]):
        done = await deferToThread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        assert await subscriber.event("room", "what's \\new") == json.loads(data)
    # What the client's own code sends takes an authorization, which the page has not.
    assert 'channel.trigger("client-typing", {"n":1});' in codes["client"]
    program = f'const Pusher = require("pusher-js");\n{codes["pusher-js"]}\n' + (
        'pusher.subscribe("room").bind("what\'s \\\\new", (data) => '
        "{ process.stdout.write(JSON.stringify(data) + '\\n', () => process.exit()); });\n"
    )
    running = deferToThread(
        subprocess.run,
        [node, "-e", program],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=30,
    )
    while (await pusher.channel_info("room", "subscription_count"))["subscription_count"] < 2:
        await pause(0.05)
    await pusher.trigger("room", "what's \\new", data)
    done = await running
    assert json.loads(done.stdout.split("\n")[-2]) == {"text": text}
