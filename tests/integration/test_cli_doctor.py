"""``txpusher doctor``, as real processes, against servers that lack one thing each."""

from __future__ import annotations

import signal
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.integration.command_server import dead_url, running, url_of
from tests.integration.conftest import Serve
from tests.support.certificates import Authority
from tests.support.command_line import Command, Done, run, run_aside, run_on_terminal
from tests.support.credentials import KEY, SECRET
from tests.support.misbehaving import Peer, answering, close_at_once, never_answer, relay, reply
from tests.support.waiting import until
from txpusher.testing import BlockingRunningServer

__all__ = ["dead_url", "running"]

CHECKS = [
    "name", "tcp", "proxy", "tls", "reply", "clock", "credentials", "cluster", "limits"
]  # fmt: skip


def found(done: Done) -> dict[str, Any]:
    """Whether each check is ok: True, False or None."""
    assert [outcome["check"] for outcome in done.objects] == CHECKS
    assert SECRET not in done.out + done.err
    return {outcome["check"]: outcome["ok"] for outcome in done.objects}


def first_failure(done: Done) -> dict[str, Any]:
    (outcome, *_) = [outcome for outcome in done.objects if outcome["ok"] is False]
    assert outcome["hint"]
    assert done.error.startswith(f"{outcome['check']}: ")
    assert outcome["hint"] in done.error
    return outcome


def test_server_that_is_well_passes(running: BlockingRunningServer) -> None:
    running.forget_events()
    done = run("doctor", url=running.url)
    assert (done.code, done.err) == (0, "")
    oks = found(done)
    assert [name for name in CHECKS if not oks[name]] == ["proxy", "tls", "cluster"]
    assert False not in oks.values()
    assert len({event.channel for event in running.events}) == 1
    assert len(running.events) == 10
    assert len(running.events[0].data) == 10240


def test_nothing_is_published_where_that_is_asked_for(running: BlockingRunningServer) -> None:
    running.forget_events()
    done = run("doctor", "--no-publish", url=running.url)
    assert done.code == 0
    assert found(done)["limits"] is None
    assert running.events == []


def test_people_see_a_line_for_each_check(running: BlockingRunningServer) -> None:
    code, shown = run_on_terminal("doctor", url=running.url)
    assert code == 0
    assert len(shown.splitlines()) == len(CHECKS)
    assert "\x1b[32mok     \x1b[0m  credentials" in shown


def test_dead_port_is_found(dead_url: str) -> None:
    done = run("doctor", url=dead_url)
    assert done.code == 4
    outcome = first_failure(done)
    assert outcome["check"] == "tcp"
    oks = found(done)
    assert oks["name"] is True
    assert {oks[name] for name in CHECKS[2:]} == {None}


def test_name_without_an_address_is_found() -> None:
    done = run("doctor", url=f"http://{KEY}:{SECRET}@nowhere.invalid/apps/1")
    assert done.code == 4
    assert first_failure(done)["check"] == "name"


def test_wrong_credentials_are_found(running: BlockingRunningServer) -> None:
    done = run("doctor", url=url_of(running.port, secret="wrong"))
    assert done.code == 3
    assert first_failure(done)["check"] == "credentials"
    assert found(done)["clock"] is True


def test_app_that_is_not_there_is_found(running: BlockingRunningServer) -> None:
    done = run("doctor", url=url_of(running.port, app_id="99"))
    assert done.code == 3
    assert "404" in first_failure(done)["detail"]


def test_missing_url_is_a_failure_on_this_side() -> None:
    done = run("doctor")
    assert (done.code, done.out) == (1, "")
    assert "PUSHER_URL" in done.error


@pytest.mark.parametrize(("off", "word"), [(700, "behind"), (-700, "ahead of")])
@pytest_twisted.ensureDeferred
async def test_clock_that_is_off_is_found(serve: Serve, off: int, word: str) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            date = formatdate(time.time() + off, usegmt=True)
            peer.send(reply(200, "{}", f"Date: {date}"))

    done = await run_aside("doctor", url=url_of(serve(script).port))
    assert done.code == 1
    outcome = first_failure(done)
    assert outcome["check"] == "clock"
    assert word in outcome["detail"]


@pytest_twisted.ensureDeferred
async def test_server_that_takes_less_is_found(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            peer.send(reply(413, "too much") if len(request.body) > 5000 else reply())

    done = await run_aside("doctor", url=url_of(serve(script).port))
    assert done.code == 3
    assert first_failure(done)["check"] == "limits"
    assert found(done)["clock"] is None


@pytest_twisted.ensureDeferred
async def test_silent_server_is_found(serve: Serve) -> None:
    done = await run_aside("doctor", "--timeout", "0.3", url=url_of(serve(never_answer).port))
    assert done.code == 4
    assert first_failure(done)["detail"] == "no answer within 0.3 seconds"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest_twisted.ensureDeferred
async def test_interrupt_is_no_finding(serve: Serve, number: signal.Signals) -> None:
    server = serve(never_answer)
    command = Command("doctor", "--json", url=url_of(server.port))
    try:
        await until(lambda: server.requests)
        done = await deferToThread(command.end, number)
    finally:
        command.kill()
    assert (done.code, done.err) == (130, "txpusher: interrupted\n")
    assert [one["ok"] for one in done.objects] == [True, True, None, None]


@pytest_twisted.ensureDeferred
async def test_tls_at_a_plain_port_is_found(serve: Serve) -> None:
    url = url_of(serve(close_at_once).port).replace("http:", "https:")
    done = await run_aside("doctor", url=url)
    assert done.code == 4
    assert first_failure(done)["check"] == "tls"


@pytest_twisted.ensureDeferred
async def test_certificate_that_nobody_trusts_is_found(serve: Serve, tls: Authority) -> None:
    server = serve(never_answer, tls.server_context("127.0.0.1"))
    url = url_of(server.port).replace("http:", "https:")
    done = await run_aside("doctor", url=url)
    assert done.code == 4
    assert first_failure(done)["check"] == "tls"
    assert "certificate verify failed" in done.err


@pytest_twisted.ensureDeferred
async def test_proxy_that_refuses_is_found(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(reply(407, "who are you?"))

    proxy = serve(script)
    url = f"https://{KEY}:{SECRET}@127.0.0.1:1/apps/1"
    env = {"PUSHER_PROXY": f"http://user:pa55word@127.0.0.1:{proxy.port}"}
    done = await run_aside("doctor", url=url, env=env)
    assert done.code == 3
    outcome = first_failure(done)
    assert outcome["check"] == "proxy"
    assert "407" in outcome["detail"]
    assert "pa55word" not in done.out + done.err


@pytest_twisted.ensureDeferred
async def test_way_through_a_proxy_and_tls_passes(
    serve: Serve, tls: Authority, tmp_path: Path
) -> None:
    server = serve(answering(reply()), tls.server_context())

    async def tunnel(peer: Peer) -> None:
        assert (await peer.head()).startswith(f"CONNECT 127.0.0.1:{server.port} ".encode())
        peer.send(reply(200, ""))
        await relay(peer, server.port)

    proxy = serve(tunnel)
    trusted = tmp_path / "root.pem"
    trusted.write_bytes(tls.root_pem)
    env = {"SSL_CERT_FILE": str(trusted)}
    arguments = ("doctor", "--proxy", f"http://127.0.0.1:{proxy.port}")
    url = url_of(server.port).replace("http:", "https:")
    done = await run_aside(*arguments, url=url, env=env)
    assert (done.code, done.err) == (0, "")
    oks = found(done)
    assert [name for name in CHECKS if not oks[name]] == ["clock", "cluster"]
    assert oks["proxy"] is oks["tls"] is True
    assert all("auth_signature" not in request.target for request in server.requests[:1])


@pytest_twisted.ensureDeferred
async def test_plain_request_goes_through_a_proxy_whole(serve: Serve) -> None:
    proxy = serve(answering(reply()))
    env = {"PUSHER_PROXY": f"http://user:pa55word@127.0.0.1:{proxy.port}"}
    url = f"http://{KEY}:{SECRET}@pusher.example:1234/apps/1"
    done = await run_aside("doctor", url=url, env=env)
    assert (done.code, done.err) == (0, "")
    first = proxy.requests[0]
    assert first.target == "http://pusher.example:1234/apps/1"
    assert first.headers["proxy-authorization"] == "Basic dXNlcjpwYTU1d29yZA=="
    assert "pa55word" not in done.out
