# -*- test-case-name: tests.integration.test_cli_listen -*-
"""
The deliveries of ``txpusher listen``: taken from the server, handed on, shown, sent again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping
from threading import Thread
from time import strftime
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from txpusher._cli.codes import fail
from txpusher._cli.output import Paint, ndjson, one_line, printable, shortened, wants_colours
from txpusher._cli.program import Show
from txpusher._cli.reading import raw_lines
from txpusher._cli.serve import Serving
from txpusher._http.forwarding import Forwarder
from txpusher.errors import HTTPError

if TYPE_CHECKING:
    from txpusher.server import Activity, App

#: How many deliveries can be sent again.
KEPT = 1000
#: The most characters of the events of a delivery in one line.
_SHOWN = 120


@attrs.frozen
class Delivery:
    """One webhook as the server has sent it."""

    number: int
    headers: list[tuple[bytes, list[bytes]]]
    body: bytes

    @property
    def events(self) -> list[Mapping[str, Any]]:
        """The events in the body."""
        events: list[Mapping[str, Any]] = json.loads(self.body)["events"]
        return events

    @property
    def what(self) -> str:
        """The events in a few words."""
        words = [f"{event['name']} {event.get('channel', '')}" for event in self.events]
        return printable(shortened(", ".join(words), _SHOWN))


class Deliveries(Resource):
    """
    Takes the webhooks of the server, hands them on, and shows what became of each.

    The server is answered as the program has answered, so that it repeats what has failed.

    :param is_json: Whether a program reads what is shown.
    """

    isLeaf = True  # noqa: N815

    def __init__(self, forwarder: Forwarder, reactor: Any, show: Show, is_json: bool) -> None:
        super().__init__()
        self._forwarder = forwarder
        self._reactor = reactor
        self._show = show
        self._is_json = is_json
        self._paint = Paint(wants_colours(sys.stdout) and not is_json)
        self._count = 0
        self._kept: OrderedDict[int, Delivery] = OrderedDict()
        self._sending: set[Deferred[Any]] = set()

    def render_POST(self, request: Any) -> int:
        """Hand a webhook on."""
        self._count += 1
        headers = list(request.requestHeaders.getAllRawHeaders())
        delivery = Delivery(self._count, headers, request.content.read())
        self._kept[delivery.number] = delivery
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        async def answer() -> None:
            status = await self._send(delivery, "")
            if not gone:
                request.setResponseCode(status)
                request.finish()

        self._start(answer())
        return NOT_DONE_YET

    def repeat(self, number: int) -> None:
        """Send a delivery again, with the same body, signature and headers."""
        delivery = self._kept.get(number)
        if delivery is None:
            fail(f"there is no delivery {number}", hint="the numbers stand behind the time")
        else:
            self._start(self._send(delivery, "again"))

    def stop(self) -> None:
        """End what is being sent."""
        for sending in list(self._sending):
            sending.cancel()

    def _start(self, coroutine: Any) -> None:
        sending: Deferred[Any] = Deferred.fromCoroutine(coroutine)
        self._sending.add(sending)

        def ended(result: object) -> None:
            # What is cancelled at the end has nobody to tell.
            self._sending.discard(sending)

        sending.addBoth(ended)

    async def _send(self, delivery: Delivery, note: str) -> int:
        began = self._reactor.seconds()
        problem = ""
        try:
            status = await self._forwarder.post(delivery.headers, delivery.body)
        except HTTPError as error:
            status, problem = 502, one_line(str(error)).rstrip(".")
        self._tell(delivery, status, problem, self._reactor.seconds() - began, note)
        return status

    def _tell(
        self, delivery: Delivery, status: int, problem: str, took: float, note: str
    ) -> None:
        if self._is_json:
            shown = {
                "kind": "delivery",
                "number": delivery.number,
                "repeated": bool(note),
                "events": delivery.events,
                "status": None if problem else status,
                "error": problem or None,
                "seconds": round(took, 4),
            }
            self._show(ndjson(shown))
            return
        accepted = not problem and 200 <= status < 300
        result = self._paint("green" if accepted else "red", problem or str(status))
        self._show(
            f"{strftime('%H:%M:%S')}  {self._paint('cyan', f'#{delivery.number}'):4}  "
            f"{delivery.what}  {result} in {took * 1000:.0f} ms{note and f'  {note}'}"
        )


class ListenServing(Serving):
    """A server whose webhooks go to ``--forward-to``."""

    def __init__(self, arguments: argparse.Namespace, apps: list[App]) -> None:
        super().__init__(arguments, apps)
        self._deliveries: Deliveries | None = None

    async def run(self, reactor: Any, show: Show) -> int:
        """
        Run the server, and what its webhooks come by.

        :raises ConfigurationError: ``--forward-to`` is no URL.
        """
        arguments = self._arguments
        forwarder = Forwarder(arguments.forward_to, reactor, arguments.forward_timeout)
        deliveries = Deliveries(forwarder, reactor, show, self._is_json)
        self._deliveries = deliveries
        site: Any = Site(deliveries)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        self._apps = [attrs.evolve(app, webhooks=(*app.webhooks, url)) for app in self._apps]
        self._own = f"{url}:"
        if not self._is_json:
            show(f"Webhooks go to {forwarder.place}")
        try:
            return await super().run(reactor, show)
        finally:
            deliveries.stop()
            await port.stopListening()

    def tell(self, activity: Activity, show: Show) -> None:
        """Print what has happened; the deliveries have lines of their own."""
        is_own = activity.kind.startswith("webhook") and activity.detail is not None
        if not (is_own and str(activity.detail).startswith(self._own)):
            super().tell(activity, show)

    def begun(self, reactor: Any, show: Show) -> None:
        """Read numbers from the terminal."""
        if sys.stdin is None or not sys.stdin.isatty():
            return
        if not self._is_json:
            show("A number and Enter send that delivery again.")
        Thread(target=self._read, args=(reactor,), name="listen", daemon=True).start()

    def _read(self, reactor: Any) -> None:
        for line in raw_lines():
            word = line.decode("utf-8", "replace").strip().removeprefix("#")
            if word.isascii() and word.isdigit():
                reactor.callFromThread(self._repeat, int(word))
            elif word:
                reactor.callFromThread(fail, f"{word!r} is no number of a delivery")

    def _repeat(self, number: int) -> None:
        if self._deliveries is not None:
            self._deliveries.repeat(number)
