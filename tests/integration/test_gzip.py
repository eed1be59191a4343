"""Replies in gzip, and those that are only said to be."""

from __future__ import annotations

import gzip

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answering, reply
from tests.support.waiting import within
from txpusher import AuthenticationError, HTTPError, NotFoundError

USERS = b'{"users": [{"id": "1"}]}'
PACKED = gzip.compress(USERS)

BROKEN = {
    "json": b'{"channels": {"a": {}}}',
    "an error in a success": b'{"error": "no", "code": 401}',
    "html": b"<html>Bad Gateway</html>",
    "truncated": PACKED[:-12],
    "without its checksum": PACKED[:-8],
    "with a wrong checksum": PACKED[:-8] + bytes(8),
    "damaged": PACKED[:12] + bytes(8) + PACKED[20:],
}


def packed(body: bytes, status: int = 200, encoding: str = "gzip") -> bytes:
    return reply(status, body, f"Content-Encoding: {encoding}")


@pytest_twisted.async_yield_fixture(params=["own", "user's"])
async def options(request, clean_reactor):
    """Of a client: with its own connections, and with a treq client of the user's."""
    from twisted.internet import reactor

    pool = HTTPConnectionPool(reactor)
    client = HTTPClient(Agent(reactor, pool=pool))
    yield {} if request.param == "own" else {"http_client": client}
    await pool.closeCachedConnections()


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "x-gzip"])
@pytest_twisted.ensureDeferred
async def test_a_packed_reply_is_unpacked(serve, connect, options, encoding):
    server = serve(answering(packed(PACKED, encoding=encoding)))
    pusher = connect(server, **options)
    for _ in range(2):
        assert await within(pusher["presence-c"].users()) == [{"id": "1"}]
    assert server.connections == 1


@pytest.mark.parametrize("body", [b"", gzip.compress(b"")], ids=["not", "packed"])
@pytest_twisted.ensureDeferred
async def test_an_empty_body_may_be_called_gzip(serve, connect, options, body):
    server = serve(answering(packed(body, 202)))
    assert await within(connect(server, **options).trigger("c", "e", "d")) == {}


@pytest.mark.parametrize("name", BROKEN)
@pytest_twisted.ensureDeferred
async def test_reply_that_cannot_be_unpacked_is_no_success(serve, connect, options, name):
    server = serve(answering(packed(BROKEN[name]), packed(BROKEN[name]), OK))
    pusher = connect(server, **options)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert "gzip that it is said to be" in str(error)
    assert error.maybe_delivered is True
    error = await error_of(pusher.channels(), HTTPError)
    assert error.maybe_delivered is False
    assert await within(pusher.trigger("c", "e", "d")) == {}


@pytest_twisted.ensureDeferred
async def test_error_with_an_unreadable_body_has_the_class_of_its_status(
    serve, connect, options
):
    page = gzip.compress(b"no such app")
    server = serve(answering(packed(page, 404), packed(page[:-9], 404), packed(b"<", 401)))
    pusher = connect(server, **options)
    assert "no such app" in str(await error_of(pusher.channels(), NotFoundError))
    assert (await error_of(pusher.channels(), NotFoundError)).body == ""
    assert (await error_of(pusher.channels(), AuthenticationError)).body == ""


@pytest_twisted.ensureDeferred
async def test_a_body_in_another_encoding_is_no_json(serve, connect, options):
    server = serve(answering(packed(b"\x8b\x02\x80{}\x03", encoding="br")))
    error = await error_of(connect(server, **options).trigger("c", "e", "d"), HTTPError)
    assert "is not a JSON object" in str(error)
