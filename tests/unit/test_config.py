"""The settings of a client: defaults, checks, and what is never shown of them."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.testing import MemoryReactor
from twisted.web.client import BrowserLikePolicyForHTTPS

from tests.support.credentials import KEY, MASTER_KEY, MASTER_KEY_BASE64, SECRET
from txpusher import Config, Pusher, RetryPolicy
from txpusher._json import json_dumps
from txpusher._urls import Proxy, parse_proxy
from txpusher.errors import ConfigurationError

from .helpers import misconfiguration, named

WORDS = st.text("abcdefghijkmnopqrstuvwxyz0123456789", min_size=12)


def config(**options):
    return Config("3", KEY, SECRET, **options)


def problem(**options):
    return misconfiguration(config, **options)


class TestApp:
    @pytest.mark.parametrize("make", [Config, Pusher])
    @pytest.mark.parametrize("name", ["app_id", "key", "secret"])
    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("", "is missing: it is empty"),
            (None, "must be a str, not NoneType"),
            (3, "must be a str, not int"),
            (b"3", "must be a str, not bytes"),
            ("a b", "must not contain spaces or control characters"),
            (" a", "must not contain spaces or control characters"),
            ("a\n", "must not contain spaces or control characters"),
            ("a\x00", "must not contain spaces or control characters"),
            ("a\u00a0b", "must not contain spaces or control characters"),
            ("a\ud800", "must not contain spaces or control characters"),
        ],
    )
    def test_bad_setting_of_the_app_is_refused_with_its_name(self, make, name, value, why):
        app = {"app_id": "3", "key": KEY, "secret": SECRET, name: value}
        assert misconfiguration(make, **app) == f"{name} {why}"

    @pytest.mark.parametrize("app_id", ["3", "my-app", "é", "a:b@c"])
    def test_id_need_not_be_digits(self, app_id):
        assert Config(app_id, "k", "s").app_id == app_id

    @pytest.mark.parametrize(
        ("app_id", "path"),
        [
            ("3", "/apps/3"),
            ("my-app", "/apps/my-app"),
            ("a/b?c", "/apps/a%2Fb%3Fc"),
            ("é", "/apps/%C3%A9"),
            (".", "/apps/%2E"),
            ("..", "/apps/%2E%2E"),
        ],
    )
    def test_id_is_escaped_in_paths(self, app_id, path):
        assert Config(app_id, "k", "s").app_path == path


class TestDefaults:
    def test_defaults_are_the_documented_values(self):
        values = attrs.asdict(config(), recurse=False)
        assert values == {
            "app_id": "3",
            "key": KEY,
            "secret": SECRET,
            "cluster": "mt1",
            "host": "api-mt1.pusher.com",
            "port": 443,
            "use_tls": True,
            "path_prefix": "",
            "sign_path_prefix": False,
            "encryption_master_key_base64": None,
            "http_proxy": None,
            "connect_timeout": 5.0,
            "timeout": 5.0,
            "keep_alive_timeout": 30.0,
            "max_connections": 16,
            "max_pending": None,
            "retry": RetryPolicy(),
            "idempotency_keys": False,
            "max_payload_bytes": 10240,
            "max_batch_size": 10,
            "max_reply_bytes": 2**20,
            "json_dumps": json_dumps,
            "json_loads": json.loads,
            "tls_policy": None,
            "endpoint": None,
            "master_key": None,
            "proxy": None,
        }

    def test_cluster_gives_the_host(self):
        assert config(cluster="eu").host == "api-eu.pusher.com"

    def test_given_host_wins_over_the_cluster(self):
        assert config(cluster="eu", host="example.com").host == "example.com"

    @pytest.mark.parametrize(
        ("options", "scheme", "netloc"),
        [
            ({}, "https", "h"),
            ({"port": 443}, "https", "h"),
            ({"port": 80}, "https", "h:80"),
            ({"use_tls": False}, "http", "h"),
            ({"use_tls": False, "port": 443}, "http", "h:443"),
            ({"use_tls": False, "port": 6001}, "http", "h:6001"),
        ],
    )
    def test_default_port_is_left_out(self, options, scheme, netloc):
        given = config(host="h", **options)
        assert (given.scheme, given.netloc) == (scheme, netloc)

    @pytest.mark.parametrize("host", ["::1", "[::1]", "0:0:0:0:0:0:0:1"])
    def test_ipv6_address_has_brackets_only_in_urls(self, host):
        given = config(host=host, port=8)
        assert (given.host, given.netloc) == ("::1", "[::1]:8")

    def test_name_outside_ascii_is_sent_as_dns_has_it(self):
        assert config(host="bücher.example").host == "xn--bcher-kva.example"

    @pytest.mark.parametrize(
        ("prefix", "clean"),
        [("", ""), ("/", ""), ("a", "/a"), ("/a/b/", "/a/b"), ("//a%20b;c//", "/a%20b;c")],
    )
    def test_slashes_around_a_path_prefix_do_not_matter(self, prefix, clean):
        assert config(path_prefix=prefix).path_prefix == clean

    def test_encryption_key_is_decoded(self):
        assert config(encryption_master_key_base64=MASTER_KEY_BASE64).master_key == MASTER_KEY

    def test_settings_beside_the_app_are_given_by_name(self):
        with pytest.raises(TypeError):
            Config("3", KEY, SECRET, "eu")

    def test_settings_do_not_change(self):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            config().timeout = 1


class TestChecks:
    @pytest.mark.parametrize("value", ["", "e u", "eu.", "eu\n", "x" * 51])
    def test_cluster_is_a_word(self, value):
        assert problem(cluster=value) == (
            f"cluster must be letters, digits and hyphens, not {value!r}"
        )

    @pytest.mark.parametrize("value", [None, 1, b"eu"])
    def test_cluster_is_a_str(self, value):
        assert problem(cluster=value) == f"cluster must be a str, not {named(value)}"

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "https://h",
            "h:80",
            "h/x",
            "a b",
            "h\n",
            "[h]",
            "[::1",
            "::x",
            ".",
            "a..b",
        ],
    )
    def test_host_is_a_name_or_an_address(self, value):
        assert problem(host=value) == (
            f"host must be a host name or an IP address, without scheme or port, not {value!r}"
        )

    def test_host_has_no_label_over_63_characters(self):
        assert "must be a host name" in problem(host="x" * 64)

    @pytest.mark.parametrize("setting", ["host", "cluster", "path_prefix"])
    def test_value_like_a_url_with_a_secret_is_not_quoted(self, setting):
        message = problem(**{setting: "https://key:s3cr3t@h/apps/3"})
        assert message.startswith(setting)
        assert message.endswith("not a URL with credentials")

    @pytest.mark.parametrize("setting", ["port", "max_connections", "max_pending"])
    def test_number_too_long_to_write_out_is_refused(self, setting):
        assert problem(**{setting: -(10**5000)}).startswith(setting)

    @pytest.mark.parametrize("value", [7, b"h"])
    def test_host_is_a_str(self, value):
        assert problem(host=value) == f"host must be a str, not {type(value).__name__}"

    @pytest.mark.parametrize("value", [0, -1, 65536, True, "80", 80.0])
    def test_port_is_a_port(self, value):
        assert (
            problem(port=value)
            == f"port must be an int from 1 to 65535, not {named(value, int)}"
        )

    @pytest.mark.parametrize("value", ["a b", "/é", "a?b", "a#b", "a\nb", "a\\b"])
    def test_path_prefix_is_a_path(self, value):
        assert problem(path_prefix=value) == (
            f"path_prefix must be a plain URL path, not {value!r}"
        )

    @pytest.mark.parametrize("value", [None, 7])
    def test_path_prefix_is_a_str(self, value):
        assert problem(path_prefix=value) == (
            f"path_prefix must be a str, not {type(value).__name__}"
        )

    @pytest.mark.parametrize("setting", ["use_tls", "idempotency_keys", "sign_path_prefix"])
    @pytest.mark.parametrize("value", [1, "no", None])
    def test_switch_is_a_bool(self, setting, value):
        assert problem(**{setting: value}) == (f"{setting} must be a bool, not {named(value)}")

    @pytest.mark.parametrize("setting", ["connect_timeout", "timeout", "keep_alive_timeout"])
    @pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "5", None])
    def test_timeout_is_a_number_of_seconds(self, setting, value):
        assert problem(**{setting: value}) == (
            f"{setting} must be a number of seconds greater than 0, "
            f"not {named(value, int, float)}"
        )

    def test_timeout_over_any_float_is_refused(self):
        assert "timeout must be a number of seconds" in problem(timeout=10**400)

    @pytest.mark.parametrize("value", [1, 0.001, 1e6])
    def test_timeout_may_be_any_positive_number(self, value):
        assert config(timeout=value).timeout == value

    @pytest.mark.parametrize(
        ("setting", "least"),
        [
            ("max_connections", 1),
            ("max_pending", 0),
            ("max_payload_bytes", 1),
            ("max_batch_size", 1),
            ("max_reply_bytes", 1),
        ],
    )
    def test_limit_is_a_whole_number(self, setting, least):
        assert getattr(config(**{setting: least}), setting) == least
        for value in (least - 1, 1.5, True, "9"):
            assert problem(**{setting: value}) == (
                f"{setting} must be a whole number >= {least}, not {named(value, int)}"
            )

    def test_retry_is_a_policy(self):
        assert problem(retry=3) == "retry must be a RetryPolicy, not the int 3"

    @pytest.mark.parametrize("setting", ["json_dumps", "json_loads"])
    def test_codec_is_callable(self, setting):
        assert problem(**{setting: "json"}) == f"{setting} must be callable, not the str 'json'"

    def test_tls_policy_provides_the_interface(self):
        policy = BrowserLikePolicyForHTTPS()
        assert config(tls_policy=policy).tls_policy is policy
        assert problem(tls_policy=7) == (
            "tls_policy must provide IPolicyForHTTPS, not be the int 7"
        )

    def test_endpoint_provides_the_interface(self):
        endpoint = UNIXClientEndpoint(MemoryReactor(), "/run/channels.sock")
        assert config(endpoint=endpoint).endpoint is endpoint
        assert problem(endpoint="unix:/run/channels.sock") == (
            "endpoint must provide IStreamClientEndpoint, not be "
            "the str 'unix:/run/channels.sock'"
        )

    def test_endpoint_beside_a_proxy_is_refused(self):
        endpoint = UNIXClientEndpoint(MemoryReactor(), "/run/channels.sock")
        assert problem(endpoint=endpoint, http_proxy="http://proxy") == (
            "endpoint and http_proxy exclude each other: both say how to reach the server"
        )

    @pytest.mark.parametrize(("signs", "signed"), [(False, ""), (True, "/ws/a")])
    def test_path_prefix_is_signed_where_the_setting_says_so(self, signs, signed):
        given = config(path_prefix="ws/a/", sign_path_prefix=signs)
        assert given.signed_prefix == signed


class TestProxy:
    @pytest.mark.parametrize(
        ("url", "proxy"),
        [
            ("http://h", Proxy("h", 80)),
            ("http://h:8080/", Proxy("h", 8080)),
            (" HTTP://h ", Proxy("h", 80)),
            ("http://u:p@h:1", Proxy("h", 1, "u", "p")),
            ("http://u@h", Proxy("h", 80, "u", "")),
            ("http://u%40x:p%3A%2F%20@h", Proxy("h", 80, "u@x", "p:/ ")),
            ("http://[::1]:3128", Proxy("::1", 3128)),
        ],
    )
    def test_proxy_is_a_url_with_host_and_credentials(self, url, proxy):
        assert config(http_proxy=url).proxy == parse_proxy(url) == proxy

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            (7, "http_proxy must be a str, not int"),
            (b"http://h", "http_proxy must be a str, not bytes"),
            ("", "http_proxy must be http://[user:password@]host[:port]"),
            ("h:80", "http_proxy must be http://[user:password@]host[:port]"),
            ("https://u:pw@h", "http_proxy must be http://[user:password@]host[:port]"),
            ("socks5://h", "http_proxy must be http://[user:password@]host[:port]"),
            ("http://u:pw@h/x", "http_proxy must have no path, query or fragment"),
            ("http://h?x", "http_proxy must have no path, query or fragment"),
            ("http://h#x", "http_proxy must have no path, query or fragment"),
            ("http://h:x", "http_proxy is not a valid URL"),
            ("http://h:0", "http_proxy must have a port from 1 to 65535, not 0"),
            ("http://u:pw\n@h", "http_proxy must not contain control characters"),
            ("http://u:%ff@h", "http_proxy has a percent-escape that is not UTF-8"),
            ("http://:pw@h", "http_proxy has a password but no user"),
            ("http://%ff:pw@h", "http_proxy has a percent-escape that is not UTF-8"),
            ("http://h:99999", "http_proxy is not a valid URL"),
            ("http://[::1", "http_proxy is not a valid URL"),
            ("http://", "http_proxy host must be"),
            ("http://u:pw@", "http_proxy host must be"),
            ("http://a b", "http_proxy host must be"),
        ],
    )
    def test_bad_proxy_url_is_refused_with_the_reason(self, url, why):
        assert problem(http_proxy=url).startswith(why)


class TestSecrecy:
    @given(WORDS, WORDS, WORDS)
    def test_repr_of_config_holds_no_secret(self, key, secret, password):
        options = {
            "encryption_master_key_base64": MASTER_KEY_BASE64,
            "http_proxy": f"http://user:{password}@proxy",
        }
        config = Config("3", key, secret, **options)
        shown = f"{config} {config!r} {config.proxy} {Pusher('3', key, secret, **options)!r}"
        for word in (key, secret, password, MASTER_KEY_BASE64, repr(MASTER_KEY)):
            assert word not in shown

    @given(
        WORDS,
        st.sampled_from(
            [
                "http://user:{}@",
                "http://user:{}@a b",
                "http://user:{}@h/x",
                "http://user:{}@h:x",
                "http://user:{}/x@h",
                "ftp://user:{}@h",
                "http://user:#{}@h",
                "user:{}@h",
            ]
        ),
    )
    def test_refusal_of_a_proxy_url_holds_no_password(self, password, url):
        with pytest.raises(ConfigurationError) as caught:
            parse_proxy(url.format(password))
        assert password not in f"{caught.value!r}"
        assert caught.value.__cause__ is None

    @given(WORDS)
    def test_refusal_of_a_setting_holds_no_secret(self, secret):
        for name in ("app_id", "key", "secret"):
            app = {"app_id": "3", "key": "k", "secret": "s", name: f"{secret} "}
            with pytest.raises(ConfigurationError) as caught:
                Config(**app)
            assert secret not in repr(caught.value)
