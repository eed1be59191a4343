"""Who may use the console."""

from __future__ import annotations

import attrs
import pytest

from txpusher.errors import ConfigurationError
from txpusher.server import App, ChannelsServer
from txpusher.server._console.guard import Asker, Guard, checked_hosts

OWN = Asker(("127.0.0.1:6001",), address="127.0.0.1", port=6001)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:6001", "localhost:6001", "[::1]:6001", "LocalHost:6001"]
)
def test_guard_lets_loopback_names_with_the_port_in(host):
    assert Guard().refusal(attrs.evolve(OWN, host=(host,))) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:6001",
        "localhost",
        "localhost:6002",
        "localhost.:6001",
        "127.0.0.1",
        "127.0.0.1.evil.example:6001",
        "localhost:6001@evil.example",
        "0.0.0.0:6001",
        "[::ffff:127.0.0.1]:6001",
        "",
    ],
)
def test_guard_refuses_foreign_host(host):
    assert "answers to" in (Guard().refusal(attrs.evolve(OWN, host=(host,))) or "")


@pytest.mark.parametrize("hosts", [(), ("localhost:6001", "localhost:6001")])
def test_guard_refuses_request_without_one_host(hosts):
    assert Guard().refusal(attrs.evolve(OWN, host=hosts)) is not None


def test_default_port_is_left_out_of_host_by_browsers():
    at_80 = attrs.evolve(OWN, host=("localhost",), port=80)
    assert Guard().refusal(at_80) is None
    assert Guard().refusal(attrs.evolve(at_80, origin=("http://localhost",))) is None


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:6001", "http://localhost:6001", "https://[::1]:6001"]
)
def test_guard_lets_own_origin_in(origin):
    assert Guard().refusal(attrs.evolve(OWN, origin=(origin,))) is None


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost:3000",
        "http://localhost",
        "file://localhost:6001",
        "http://localhost:6001.evil.example",
        "http://localhost:6001/",
        "chrome-extension://localhost:6001",
    ],
)
def test_guard_refuses_foreign_origin(origin):
    assert "pages of" in (Guard().refusal(attrs.evolve(OWN, origin=(origin,))) or "")


def test_guard_refuses_second_origin_that_is_foreign():
    both = attrs.evolve(OWN, origin=("http://localhost:6001", "http://evil.example"))
    assert Guard().refusal(both) is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "cross-site, none"])
def test_guard_refuses_other_sites_unless_they_link_to_the_page(site):
    asker = attrs.evolve(OWN, fetch_site=site)
    assert "other pages" in (Guard().refusal(asker) or "")
    assert Guard().refusal(attrs.evolve(asker, navigates=True)) is None


@pytest.mark.parametrize("site", ["none", "same-origin", None])
def test_guard_lets_own_pages_and_typed_addresses_in(site):
    assert Guard().refusal(attrs.evolve(OWN, fetch_site=site)) is None


@pytest.mark.parametrize(
    "address", ["192.168.1.7", "fe80::1%eth0", "2001:db8::1", "::ffff:10.0.0.1", ""]
)
def test_guard_refuses_other_machine_that_names_loopback(address):
    assert "this machine" in (Guard().refusal(attrs.evolve(OWN, address=address)) or "")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None])
def test_guard_lets_this_machine_in(address):
    assert Guard().refusal(attrs.evolve(OWN, address=address)) is None


def test_guard_refuses_request_that_a_proxy_passes_on():
    assert "this machine" in (Guard().refusal(attrs.evolve(OWN, forwarded=True)) or "")


def test_unix_socket_has_no_port_in_host():
    asker = Asker(("localhost",), address=None, port=None)
    assert Guard().refusal(asker) is None
    assert Guard().refusal(attrs.evolve(asker, host=("localhost:6001",))) is not None


class TestHostsThatTheServerWasToldOf:
    @pytest.mark.parametrize("host", ["dev.example", "dev.example:6001", "DEV.example:6001"])
    def test_guard_lets_told_host_in_from_anywhere_over_proxies(self, host):
        guard = Guard(frozenset({"dev.example"}))
        asker = Asker(
            (host,), (f"https://{host}",), address="10.0.0.7", port=6001, forwarded=True
        )
        assert guard.refusal(asker) is None

    def test_told_host_with_a_port_is_meant_with_that_port(self):
        guard = Guard(frozenset({"dev.example:8443", "[2001:db8::1]"}))
        for host, is_let_in in [
            ("dev.example:8443", True),
            ("dev.example", False),
            ("dev.example:6001", False),
            ("[2001:db8::1]", True),
            ("[2001:db8::1]:6001", True),
        ]:
            asker = Asker((host,), address="10.0.0.7", port=6001)
            assert (guard.refusal(asker) is None) is is_let_in, host

    def test_loopback_names_stay_for_this_machine(self):
        guard = Guard(frozenset({"dev.example"}))
        assert guard.refusal(OWN) is None
        assert guard.refusal(attrs.evolve(OWN, address="10.0.0.7")) is not None

    def test_foreign_host_and_origin_stay_refused(self):
        guard = Guard(frozenset({"dev.example"}))
        assert guard.refusal(attrs.evolve(OWN, host=("evil.example",))) is not None
        told = Asker(("dev.example",), ("http://evil.example",), port=6001)
        assert guard.refusal(told) is not None


class TestSetting:
    def test_console_is_off_on_or_for_hosts(self):
        assert checked_hosts(False) is None
        assert checked_hosts(True) == frozenset()
        hosts = frozenset({"dev.example", "[::1]:80"})
        assert checked_hosts(["Dev.example", "[::1]:80"]) == hosts

    @pytest.mark.parametrize("console", ["dev.example", b"dev.example", 1, None])
    def test_console_of_another_type_is_refused(self, console):
        with pytest.raises(ConfigurationError, match="True, False or several hosts"):
            ChannelsServer([App("3", "k", "s")], console=console)

    @pytest.mark.parametrize("host", ["http://dev.example", "a b", "*", "", "a:b", 3])
    def test_malformed_host_is_refused(self, host):
        with pytest.raises(ConfigurationError, match="as in a URL"):
            ChannelsServer([App("3", "k", "s")], console=[host])
