# -*- test-case-name: tests.unit.test_server_options -*-
"""
The options of a server that is started from outside: by ``txpusher serve``, by ``twist``, by
environment variables.

The module knows the server's settings by name alone, and imports neither the server nor
Twisted, so that ``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from txpusher.errors import ConfigurationError

if TYPE_CHECKING:
    from txpusher.server import Limits

#: The app where none is given, which every official SDK takes.
DEFAULT_APP = "1:app-key:app-secret"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise ValueError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _app(text: str) -> tuple[str, str, str]:
    parts = text.split(":", 2)
    if len(parts) != 3 or not all(parts):
        # What was given is not quoted: it may hold a secret.
        raise ValueError("it must be ID:KEY:SECRET")
    return parts[0], parts[1], parts[2]


def _limits(text: str) -> Limits:
    if text != "hosted":
        raise ValueError(f"{text!r} is not hosted, the only choice there is")
    from txpusher.server import HOSTED_LIMITS

    return HOSTED_LIMITS


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither 1 nor 0")


_TROUBLE: dict[str, Callable[[str], Any]] = {
    "delay": _number,
    "error_rate": _number,
    "error_status": _whole_number,
    "drop_reply_rate": _number,
    "refuse_auth": _switch,
}


def _trouble(text: str) -> dict[str, Any]:
    wishes = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name not in _TROUBLE:
            raise ValueError(f"{name!r} is none of {', '.join(_TROUBLE)}")
        if not equals and name != "refuse_auth":
            raise ValueError(f"{name} needs a value, as in {name}=1")
        wishes[name] = _TROUBLE[name](value if equals else "1")
    return wishes


@attrs.frozen
class Option:
    """
    One option.

    :ivar name: The name on the command line, without hyphens before it.
    :ivar setting: The setting that the option is for, as the Python API calls it.
    :ivar help: What the option does, for a list of options.
    :ivar metavar: What stands for the value in a list of options; empty for a switch.
    :ivar read: Makes the value of a text; raises a ValueError that says what is wrong.
    :ivar on: The value of a switch that is given.
    :ivar is_list: Whether the option may be given several times; in the environment the
        values stand with spaces between.
    """

    name: str
    setting: str
    help: str
    metavar: str = ""
    read: Callable[[str], Any] = str
    on: bool = True
    is_list: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that has the value where the command line has none."""
        return f"TXPUSHER_{self.name.upper().replace('-', '_')}"

    def from_environment(self, environment: Mapping[str, str]) -> Any:
        """
        Return the value that the environment has, None for none.

        :raises ConfigurationError: The value is malformed; the message names the variable.
        """
        text = environment.get(self.variable, "").strip()
        if not text:
            return None
        try:
            if self.is_list:
                return [self.read(word) for word in text.split()]
            if not self.metavar:
                return self.on if _switch(text) else None
            return self.read(text)
        except ValueError as error:
            raise ConfigurationError(f"{self.variable}: {error}") from None


#: Where the server listens, for ``twist`` too.
LISTEN = Option(
    "listen",
    "endpoint",
    "an endpoint of Twisted's to listen on, such as unix:/run/channels.sock",
    "ENDPOINT",
)
#: Where the server listens, for ``serve`` alone.
PLACE_OPTIONS = (
    Option("host", "host", "the IP address to listen on (127.0.0.1)", "ADDRESS"),
    Option("port", "port", "the TCP port (6001)", "PORT", _port),
    LISTEN,
    Option("tls", "tls", "speak TLS, with a certificate made on the spot"),
    Option(
        "tls-directory",
        "tls_directory",
        "keep key and certificate there, and use them again; implies --tls",
        "DIRECTORY",
    ),
)
#: Which apps there are.
APPS = Option(
    "app",
    "apps",
    f"an app; may be given several times ({DEFAULT_APP})",
    "ID:KEY:SECRET",
    _app,
    is_list=True,
)
WEBHOOKS = Option(
    "webhook",
    "webhooks",
    "a URL to send webhooks to; may be given several times",
    "URL",
    is_list=True,
)
#: The settings of every app.
APP_OPTIONS = (
    Option(
        "webhook-grace",
        "webhook_grace",
        "for a client to come back before its leaving is sent to webhooks (3)",
        "SECONDS",
        _number,
    ),
    Option("webhook-batches", "webhook_batches", "send several events in one webhook"),
    Option(
        "activity-timeout",
        "activity_timeout",
        "of silence after which either side pings (120)",
        "SECONDS",
        _number,
    ),
    Option(
        "pong-timeout",
        "pong_timeout",
        "to answer a ping of the server (30)",
        "SECONDS",
        _number,
    ),
    Option(
        "authorization-timeout",
        "authorization_timeout",
        "for a connection to sign in or subscribe to a private channel (no limit)",
        "SECONDS",
        _number,
    ),
    Option(
        "limits",
        "limits",
        "the limits of the hosted service: members, ids, names, messages a day",
        "hosted",
        _limits,
    ),
    Option(
        "max-connections",
        "max_connections",
        "the most WebSocket connections of each app (any number)",
        "N",
        _whole_number,
    ),
    Option("no-client-events", "client_events", "refuse client events", on=False),
    Option("no-user-authentication", "user_authentication", "refuse sign-ins", on=False),
    Option(
        "no-subscription-counts",
        "subscription_counts",
        "tell nobody how many subscribers a channel has",
        on=False,
    ),
    Option("disabled", "enabled", "answer as for a disabled app", on=False),
)
#: The settings of the server.
SERVER_OPTIONS = (
    Option(
        "path-prefix",
        "path_prefix",
        "the path at which a proxy has the server; it is not signed",
        "PATH",
    ),
    Option(
        "max-server-connections",
        "max_connections",
        "the most WebSocket connections of all apps together (any number)",
        "N",
        _whole_number,
    ),
)
#: The page that shows what happens, for ``serve`` alone, which has it unless told otherwise.
CONSOLE_OPTIONS = (
    Option("no-console", "console", "leave out the page that shows what happens", on=False),
    Option(
        "console-host",
        "console_hosts",
        "a host such as dev.example:6001, under which others than this machine may use the "
        "page too; may be given several times",
        "HOST",
        is_list=True,
    ),
)
TROUBLE = Option(
    "trouble",
    "trouble",
    "do wrong on request: delay=SECONDS, error_rate=0.1, error_status=429, "
    "drop_reply_rate=0.1, refuse_auth; commas between",
    "WISHES",
    _trouble,
)
#: Every option but those of ``serve`` alone.
COMMON_OPTIONS = (APPS, WEBHOOKS, *APP_OPTIONS, *SERVER_OPTIONS, TROUBLE)


def settings_of(
    options: tuple[Option, ...], given: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """
    Return the settings that were made, by the name of the setting.

    :param given: The values from the command line by the option's name, None where the option
        was not given; these win over the environment.
    :raises ConfigurationError: A variable of the environment is malformed.
    """
    settings = {}
    for option in options:
        value = given.get(option.name)
        if value is None or value == []:
            value = option.from_environment(environment)
        if value is not None:
            settings[option.setting] = value
    return settings
