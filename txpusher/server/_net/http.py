"""
The HTTP face: turns requests into calls of the endpoints, and replies into replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from txpusher.server._core.endpoints import Call

if TYPE_CHECKING:
    from txpusher.server._server import ChannelsServer


class Root(Resource):
    """
    Everything that the server answers.

    :param server: Answers calls.
    :param websocket: Renders the requests that ask for a WebSocket.
    """

    def __init__(self, server: ChannelsServer, websocket: Resource) -> None:
        super().__init__()
        # The path is what is signed: nothing may take it apart before.
        self.isLeaf = True
        self._server = server
        self._websocket = websocket

    def render(self, request: Any) -> bytes | int:
        # Clients may offer HTTP/2 or TLS in the same header, which is theirs to offer
        # and ours to ignore: Java's do so with every request.
        offers = request.requestHeaders.getRawHeaders(b"upgrade") or []
        if any(b"websocket" in offer.lower() for offer in offers):
            return self._websocket.render(request)  # type: ignore[no-any-return]
        try:
            path, _, query = request.uri.decode("ascii").partition("?")
            method = request.method.decode("ascii")
        except UnicodeDecodeError:
            request.setResponseCode(400)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"the path and the query must be percent-escaped\n"
        key = request.requestHeaders.getRawHeaders(b"x-idempotency-key")
        reply = self._server.answer(
            Call(
                method,
                path,
                query,
                request.content.read(),
                self._server.now(),
                self._server.wall(),
                None if key is None else key[0].decode("latin-1"),
            )
        )
        request.setResponseCode(reply.status)
        request.setHeader(b"content-type", reply.content_type)
        if reply.allow is not None:
            request.setHeader(b"allow", reply.allow.encode("ascii"))
        # Twisted would cut it off, and log that it had to.
        return b"" if method == "HEAD" else reply.body
