"""``txpusher channels``, ``channel``, ``users`` and ``terminate``, as real processes."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.integration.command_server import dead_url, running, url_of
from tests.integration.conftest import Serve
from tests.support.command_line import run, run_aside, run_on_terminal
from tests.support.credentials import KEY, SECRET
from tests.support.misbehaving import answering, reply
from tests.support.raw_client import open_socket
from txpusher._protocol import signing
from txpusher.server import ChannelsServer
from txpusher.testing import BlockingRunningServer

__all__ = ["dead_url", "running"]

COMMANDS = [("channels",), ("channel", "c"), ("users", "presence-c"), ("terminate", "u")]

USER = '{"id":"alice"}'
TWO_CHANNELS = (
    '{"channels": {"presence-a": {"user_count": 3}, "b\\u001b[31m": {"user_count": 12}}}'
)


@pytest_twisted.ensureDeferred
async def test_channels_are_a_json_object_each(serve: Serve) -> None:
    server = serve(answering(reply(200, TWO_CHANNELS)))
    arguments = ("channels", "--prefix", "presence-", "--info", "user_count,subscription_count")
    done = await run_aside(*arguments, url=url_of(server.port))
    assert (done.code, done.err) == (0, "")
    assert done.objects == [
        {"channel": "presence-a", "user_count": 3},
        {"channel": "b\x1b[31m", "user_count": 12},
    ]
    (request,) = server.requests
    assert request.params["filter_by_prefix"] == "presence-"
    assert request.params["info"] == "user_count,subscription_count"


@pytest_twisted.ensureDeferred
async def test_channels_are_a_table_for_people_which_no_name_can_steer(serve: Serve) -> None:
    from twisted.internet.threads import deferToThread

    url = url_of(serve(answering(reply(200, TWO_CHANNELS))).port)
    code, shown = await deferToThread(
        run_on_terminal, "channels", url=url, env={"NO_COLOR": "1"}
    )
    assert code == 0
    assert shown == "CHANNEL     USER COUNT\npresence-a  3\nb\\x1b[31m   12\n"


@pytest_twisted.ensureDeferred
async def test_channel_has_its_name_and_what_the_server_tells(serve: Serve) -> None:
    server = serve(answering(reply(200, '{"occupied": true, "subscription_count": 2}')))
    done = await run_aside(
        "channel", "c", "--info", "subscription_count", url=url_of(server.port)
    )
    assert done.objects == [{"channel": "c", "occupied": True, "subscription_count": 2}]


@pytest_twisted.ensureDeferred
async def test_users_are_listed_by_id(serve: Serve) -> None:
    server = serve(answering(reply(200, '{"users": [{"id": "alice"}, {"id": "bob"}]}')))
    done = await run_aside("users", "presence-c", url=url_of(server.port))
    assert done.objects == [{"id": "alice"}, {"id": "bob"}]


@pytest_twisted.ensureDeferred
async def test_terminate_ends_connections_of_user(server: ChannelsServer) -> None:
    socket = await open_socket(server.port)
    auth = f"{KEY}:{signing.user_signature(SECRET, socket.socket_id, USER)}"
    socket.send({"event": "pusher:signin", "data": {"auth": auth, "user_data": USER}})
    await socket.wait("pusher:signin_success")
    done = await run_aside("terminate", "alice", url=server.url("3"))
    assert (done.code, done.objects, done.err) == (0, [{}], "")
    assert await socket.end() == 4009


def test_nothing_is_said_in_words_to_people_and_in_no_line_to_programs(
    running: BlockingRunningServer,
) -> None:
    assert run("channels", url=running.url).out == ""
    assert "no channel is occupied" in run_on_terminal("channels", url=running.url)[1]
    assert "nobody is there" in run_on_terminal("users", "presence-x", url=running.url)[1]
    shown = run_on_terminal("terminate", "bob", url=running.url)[1]
    assert "the connections of bob" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_dead_server_has_no_answer(command: tuple[str, ...], dead_url: str) -> None:
    done = run(*command, "--retries", "0", url=dead_url)
    assert (done.code, done.out) == (4, "")
    assert "Connection refused" in done.error
    assert SECRET not in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_secret_is_refused(
    command: tuple[str, ...], running: BlockingRunningServer
) -> None:
    done = run(*command, url=url_of(running.port, secret="wrong"))
    assert (done.code, done.out) == (3, "")
    assert "status 401" in done.error


@pytest_twisted.ensureDeferred
async def test_failure_of_the_server_is_no_answer_to_a_query(serve: Serve) -> None:
    url = url_of(serve(answering(reply(500, "oops"))).port)
    done = await run_aside("channels", "--retries", "1", url=url)
    assert (done.code, done.out) == (4, "")
    assert "status 500" in done.error


@pytest_twisted.ensureDeferred
async def test_retries_are_as_many_as_asked_for(serve: Serve) -> None:
    server = serve(answering(reply(500), reply(500), reply(200, '{"channels": {}}')))
    done = await run_aside("channels", "--retries", "2", url=url_of(server.port))
    assert done.code == 0
    assert len(server.requests) == 3


def test_channel_of_another_kind_is_refused(running: BlockingRunningServer) -> None:
    done = run("users", "news", url=running.url)
    assert (done.code, done.out) == (3, "")
    assert "presence" in done.error


def test_refused_argument_is_a_failure_on_this_side(running: BlockingRunningServer) -> None:
    assert run("channel", "a b", url=running.url).code == 1
    assert run("terminate", "", url=running.url).code == 1
