"""The options of a server that is started from outside, and the environment in their place."""

from __future__ import annotations

import argparse
import configparser
import inspect
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.python.usage import UsageError

from txpusher._cli.serve import add_options, given_settings
from txpusher._server_options import (
    APP_OPTIONS,
    APPS,
    COMMON_OPTIONS,
    CONSOLE_OPTIONS,
    LISTEN,
    PLACE_OPTIONS,
    SERVER_OPTIONS,
    TROUBLE,
    WEBHOOKS,
    Option,
    settings_of,
)
from txpusher.errors import ConfigurationError
from txpusher.server import HOSTED_LIMITS, App, ChannelsServer
from txpusher.server._plugin import Options

ROOT = Path(__file__).parents[2]
ALL = (*PLACE_OPTIONS, *COMMON_OPTIONS, *CONSOLE_OPTIONS)


def given(*arguments: str, options: tuple[Option, ...] = ALL) -> dict[str, Any]:
    """What serve makes of its arguments."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return given_settings(parser.parse_args(arguments), *options)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ALL:
        monkeypatch.delenv(option.variable, raising=False)


#: Settings that no text can express, what --app and --webhook are for, and the console's.
WITHOUT_OPTION = {"clock", "apps", "self", "id", "key", "secret", "webhooks", "console"}
WITHOUT_OPTION |= {"encryption_master_key_base64"}


@pytest.mark.parametrize(
    ("names", "options"),
    [
        ([field.name for field in attrs.fields(App)], APP_OPTIONS),
        (list(inspect.signature(ChannelsServer.__init__).parameters), SERVER_OPTIONS),
    ],
)
def test_setting_that_a_program_can_make_has_an_option(
    names: list[str], options: tuple[Option, ...]
) -> None:
    assert set(names) - WITHOUT_OPTION <= {option.setting for option in options}


def test_option_is_for_a_setting_that_there_is() -> None:
    settings = {field.name for field in attrs.fields(App)}
    assert {option.setting for option in APP_OPTIONS} <= settings


def test_option_of_serve_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TXPUSHER_PORT", "7001")
    monkeypatch.setenv("TXPUSHER_APP", "1:a:b 2:c:d:e")
    assert given() == {"port": 7001, "apps": [("1", "a", "b"), ("2", "c", "d:e")]}
    assert given("--port", "7002", "--app", "3:e:f") == {
        "port": 7002,
        "apps": [("3", "e", "f")],
    }


@pytest.mark.parametrize("word", ["1", "true", "Yes", "on"])
def test_switch_is_on_in_the_environment(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TXPUSHER_NO_CLIENT_EVENTS", word)
    monkeypatch.setenv("TXPUSHER_WEBHOOK_BATCHES", word)
    assert given() == {"client_events": False, "webhook_batches": True}


@pytest.mark.parametrize("word", ["", "0", "false", "No", "off"])
def test_switch_is_not_made_in_the_environment(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TXPUSHER_NO_CLIENT_EVENTS", word)
    assert given() == {}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TXPUSHER_PORT", "65536", "not a port"),
        ("TXPUSHER_PONG_TIMEOUT", "soon", "not a number"),
        ("TXPUSHER_MAX_CONNECTIONS", "1.5", "not a whole number"),
        ("TXPUSHER_LIMITS", "none", "not hosted"),
        ("TXPUSHER_DISABLED", "maybe", "neither 1 nor 0"),
        ("TXPUSHER_TROUBLE", "delay", "needs a value"),
        ("TXPUSHER_APP", "id:top-secret", "ID:KEY:SECRET"),
    ],
)
def test_variable_that_is_malformed_is_named(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable}: .*{words}") as caught:
        given()
    assert "top-secret" not in str(caught.value)


def test_limits_of_the_hosted_service_are_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given("--limits", "hosted") == {"limits": HOSTED_LIMITS}
    monkeypatch.setenv("TXPUSHER_LIMITS", "hosted")
    assert given() == {"limits": HOSTED_LIMITS}


def test_wishes_for_trouble_are_read() -> None:
    text = "delay=0.5, error_rate=.1,error_status=429,drop_reply_rate=1,refuse_auth"
    assert TROUBLE.read(text) == {
        "delay": 0.5,
        "error_rate": 0.1,
        "error_status": 429,
        "drop_reply_rate": 1.0,
        "refuse_auth": True,
    }


@pytest.mark.parametrize("text", ["", "close_all=1", "delay=x", "error_status=4.5", "x"])
def test_wish_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        TROUBLE.read(text)


def test_settings_of_app_and_server_with_one_name_keep_apart() -> None:
    arguments = ("--max-connections", "3", "--max-server-connections", "5")
    assert given(*arguments, options=APP_OPTIONS) == {"max_connections": 3}
    assert given(*arguments, options=SERVER_OPTIONS) == {"max_connections": 5}


# twist


def test_twist_takes_the_options_that_serve_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TXPUSHER_PONG_TIMEOUT", "7")
    options = Options()
    arguments = "--app 1:a:b --app 2:c:d --activity-timeout 9 --no-client-events"
    options.parseOptions([*arguments.split(), "--path-prefix=/p", "--trouble=error_rate=1"])
    service = options.service
    first, second = service.server._apps
    assert (first.id, second.id) == ("1", "2")
    for app in (first, second):
        assert (app.activity_timeout, app.pong_timeout, app.client_events) == (9.0, 7.0, False)
    assert service.server.trouble.error_rate == 1.0


def test_twist_serves_the_default_app(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options()
    options.parseOptions([])
    [app] = options.service.server._apps
    assert (app.id, app.key, app.secret) == ("1", "app-key", "app-secret")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--activity-timeout", "0"], "activity_timeout must be"),
        (["--trouble", "error_status=200"], "error_status must be"),
        (["--path-prefix", "a b"], "path_prefix"),
        (["--webhook", "http://u:pw@x y/"], "webhooks must be URLs"),
        (["--app", "1:k:s", "--app", "1:k:s"], "apps: two of them have the same id"),
        ([], "TXPUSHER_WEBHOOK_GRACE: 'x' is not a number"),
    ],
)
def test_twist_refuses_a_wrong_setting_as_an_error_of_usage(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not arguments:
        monkeypatch.setenv("TXPUSHER_WEBHOOK_GRACE", "x")
    with pytest.raises(UsageError, match=words) as refused:
        Options().parseOptions(arguments)
    assert "pw" not in str(refused.value)


def test_every_common_option_is_one_of_twist() -> None:
    names = {option.name for option in (LISTEN, *COMMON_OPTIONS)}
    rows: list[Any] = [*Options.optParameters, *Options.optFlags]
    known = {row[0] for row in rows}
    assert known | {APPS.name, WEBHOOKS.name} == names


def test_plugin_is_installed_where_twisted_looks() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    options = config["options"]
    assert options["py_modules"] == "twisted.plugins.txpusher_channels"
    package, _, directory = options["package_dir"].strip().partition(" = ")
    assert package == "twisted.plugins"
    assert (ROOT / directory / "txpusher_channels.py").exists()


def test_settings_that_nobody_made_are_left_out() -> None:
    assert settings_of(ALL, {}, {}) == {}
