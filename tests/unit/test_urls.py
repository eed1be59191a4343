"""Settings from a URL and from the environment."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txpusher import Config, Pusher
from txpusher._urls import env_settings, url_settings
from txpusher.errors import ConfigurationError

from .helpers import misconfiguration

URL = "https://key:secret@example.com/apps/3"
FORM = "url must be https://KEY:SECRET@HOST[:PORT][/prefix]/apps/APP_ID"
CREDENTIALS = "url must have KEY:SECRET@ before the host"
CONTROL = "url must not contain control characters"
ESCAPE = "url has a percent-escape that is not UTF-8"
APP = "url must end in /apps/APP_ID"

# What an app's id, key and secret may be made of.
IDENTIFIERS = st.text(
    st.characters(exclude_categories=["C", "Z"]).filter(str.isprintable), min_size=1
)


def settings_of(url):
    config = Config.from_url(url)
    return config.app_id, config.key, config.secret, config.scheme, config.netloc


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        (URL, ("3", "key", "secret", "https", "example.com")),
        (f" {URL}/\n", ("3", "key", "secret", "https", "example.com")),
        ("HTTP://k:s@h:6001/apps/a-b", ("a-b", "k", "s", "http", "h:6001")),
        ("http://k:s@[::1]:80/apps/3", ("3", "k", "s", "http", "[::1]")),
        ("https://k%40:s%3A%2F@h/apps/a%2Fb", ("a/b", "k@", "s:/", "https", "h")),
        ("https://k:s:t@h/apps/3", ("3", "k", "s:t", "https", "h")),
        ("https://k:s@h:443/apps/3", ("3", "k", "s", "https", "h")),
        ("https://k:s@h/apps/apps", ("apps", "k", "s", "https", "h")),
    ],
)
def test_url_has_the_settings(url, settings):
    assert settings_of(url) == settings


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/apps/3", ""),
        ("/a/b/apps/3/", "/a/b"),
        ("/apps/apps/3", "/apps"),
        ("//a/apps/3", "/a"),
    ],
)
def test_path_before_apps_is_the_path_prefix(path, prefix):
    assert Config.from_url(f"https://k:s@h{path}").path_prefix == prefix


def test_port_is_only_a_setting_where_the_url_has_one():
    assert "port" not in url_settings(URL, {})
    assert Config.from_url(URL, use_tls=False).port == 80


@pytest.mark.parametrize("make", [Config.from_url, Pusher.from_url])
def test_options_win_over_the_url(make):
    made = make(URL, host="h", key="other", timeout=1)
    config = getattr(made, "config", made)
    assert (config.host, config.key, config.secret) == ("h", "other", "secret")
    assert config.timeout == 1


@given(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, st.booleans(), st.integers(1, 65535))
def test_app_settings_survive_the_way_through_a_url(app_id, key, secret, use_tls, port):
    config = Config(app_id, key, secret, host="h", use_tls=use_tls, port=port)
    parts = [quote(text, safe="") for text in (key, secret, app_id)]
    url = "{}://{}:{}@{}/apps/{}".format(config.scheme, *parts[:2], config.netloc, parts[2])
    assert Config.from_url(url) == config


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, "url must be a str, not NoneType"),
        (URL.encode(), "url must be a str, not bytes"),
        ("", FORM),
        ("nonsense", FORM),
        ("key:secret@h/apps/3", FORM),
        ("//key:secret@h/apps/3", FORM),
        ("ftp://key:secret@h/apps/3", FORM),
        ("wss://key:secret@h/apps/3", FORM),
        ("https://h/apps/3", CREDENTIALS),
        ("https://key@h/apps/3", CREDENTIALS),
        ("https://key:@h/apps/3", CREDENTIALS),
        ("https://:secret@h/apps/3", CREDENTIALS),
        ("https://key:secret@/apps/3", "url must name a host"),
        ("https://key:secret@:80/apps/3", "url must name a host"),
        ("https://key:secret@h", APP),
        ("https://key:secret@h/", APP),
        ("https://key:secret@h/apps", APP),
        ("https://key:secret@h/apps/", APP),
        ("https://key:secret@h/apps/3/events", APP),
        ("https://key:secret@h/app/3", APP),
        ("https://key:secret@h/apps/3?x=y", "url must have no query and no fragment"),
        ("https://key:secret@h/apps/3?", "url must have no query and no fragment"),
        ("https://key:secret@h/apps/3#x", "url must have no query and no fragment"),
        ("https://key:sec?ret@h/apps/3", "url is not a valid URL"),
        ("https://key:sec/ret@h/apps/3", "url is not a valid URL"),
        ("https://key:secret@h:port/apps/3", "url is not a valid URL"),
        ("https://key:secret@h:65536/apps/3", "url is not a valid URL"),
        ("https://key:secret@h:-1/apps/3", "url is not a valid URL"),
        ("https://key:secret@[::1/apps/3", "url is not a valid URL"),
        ("https://key:secret@h:0/apps/3", "url must have a port from 1 to 65535, not 0"),
        ("https://key:secret@a b/apps/3", "url host must be a host name"),
        ("https://key:secret@a%20b/apps/3", "url host must be a host name"),
        ("https://key:secret@h%40x/apps/3", "url host must be a host name"),
        ("https://key:secret@h/a b/apps/3", "path_prefix must be a plain URL path"),
        ("https://key:sec%20ret@h/apps/3", "secret must not contain spaces"),
        ("https://k%0Aey:secret@h/apps/3", "key must not contain spaces"),
        ("https://key:secret@h/apps/%20", "app_id must not contain spaces"),
        ("https://key:secret@h/apps/a\nb", CONTROL),
        ("https://key:sec\tret@h/apps/3", CONTROL),
        ("https://key:secr%ffet@h/apps/3", ESCAPE),
        ("https://k%ff:secret@h/apps/3", ESCAPE),
        ("https://key:secret@h%ff/apps/3", ESCAPE),
        ("https://key:secret@h/apps/%ff", ESCAPE),
    ],
)
def test_malformed_url_is_refused_with_the_reason_and_without_the_secret(url, why):
    message = misconfiguration(Config.from_url, url)
    assert message.startswith(why)
    assert "secret@" not in message
    assert "sec/ret" not in message


@given(
    st.text("abcdefghijkmnopqrstuvwxyz0123456789", min_size=12),
    st.sampled_from(
        [
            "https://key:{}@",
            "https://key:{}@h",
            "https://key:{}@a b/apps/3",
            "https://key:{}@h:x/apps/3",
            "https://key:{}/x@h/apps/3",
            "https://{}@h/apps/3",
            "https://:{}@h/apps/3",
            "https://key:{}@h/apps/3?x",
            "https://key:?{}@h/apps/3",
            "https://key:#{}@h/apps/3",
            "https://key:{}%20@h/apps/3",
            "https://key:{}@h/a b/apps/3",
            "http:/key:{}@h/apps/3",
            "key:{}@h/apps/3",
        ]
    ),
)
def test_refusal_of_a_url_holds_no_secret(secret, url):
    with pytest.raises(ConfigurationError) as caught:
        Pusher.from_url(url.format(secret))
    assert secret not in f"{caught.value!r}"
    assert caught.value.__cause__ is None


class TestEnvironment:
    @pytest.mark.parametrize("make", [Config.from_env, Pusher.from_env])
    def test_pusher_url_is_read(self, monkeypatch, make):
        monkeypatch.setenv("PUSHER_URL", URL)
        made = make(timeout=1)
        config = getattr(made, "config", made)
        assert (config.app_id, config.host, config.timeout) == ("3", "example.com", 1)

    def test_from_env_reads_another_variable(self, monkeypatch):
        monkeypatch.setenv("OTHER_URL", URL)
        assert Config.from_env("OTHER_URL") == Config.from_url(URL)

    @pytest.mark.parametrize("make", [Config.from_env, Pusher.from_env])
    def test_missing_variable_is_named(self, monkeypatch, make):
        monkeypatch.delenv("PUSHER_URL", raising=False)
        assert misconfiguration(make) == (
            "PUSHER_URL is missing: the environment variable is not set"
        )

    @pytest.mark.parametrize("value", ["", " \n"])
    def test_empty_variable_is_missing(self, monkeypatch, value):
        monkeypatch.setenv("PUSHER_URL", value)
        assert "PUSHER_URL is missing" in misconfiguration(Config.from_env)

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("https://key:secret@h", "must end in /apps/APP_ID"),
            ("https://key:secret@a b/apps/3", "host must be a host name"),
            ("https://key:secret@[::1/apps/3", "is not a valid URL"),
        ],
    )
    def test_malformed_variable_is_named(self, monkeypatch, url, why):
        monkeypatch.setenv("MY_URL", url)
        assert misconfiguration(env_settings, "MY_URL", {}).startswith(f"MY_URL {why}")

    def test_name_of_the_variable_is_a_str(self):
        assert misconfiguration(Config.from_env, None) == (
            "the name of an environment variable must be a str, not NoneType"
        )


class TestOptionsBesideTheURL:
    """One given by name wins over the URL."""

    def test_host_and_port(self):
        config = Config.from_url("https://k:s@h:7000/apps/3", host="i", port=7001)
        assert config.netloc == "i:7001"

    def test_cluster_stands_for_a_host_and_its_port(self):
        config = Config.from_url("https://k:s@h:7000/apps/3", cluster="eu")
        assert config.netloc == "api-eu.pusher.com"

    def test_host_wins_over_a_cluster_there_too(self):
        config = Config.from_url("https://k:s@h:7000/apps/3", cluster="eu", host="i")
        assert config.netloc == "i"


@pytest.mark.parametrize(
    "url",
    [
        "https://k:t0psecret/x@h/apps/3",
        "https://k:t0psecret#x@h/apps/3",
        "https://k:t0psecret?x@h/apps/3",
        "https://k:t0psecret]x@h/apps/3",
    ],
)
def test_secret_that_needs_escapes_is_not_quoted_by_the_error_or_its_context(url):
    with pytest.raises(ConfigurationError) as caught:
        Config.from_url(url)
    assert "percent-escape" in str(caught.value)
    assert caught.value.__context__ is None
