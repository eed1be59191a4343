# -*- test-case-name: tests.integration.test_server_service -*-
"""
``twist channels``: the server as a service of Twisted's own runner, for ``twistd`` too.

``twisted/plugins/txpusher_channels.py``, which the package installs, names this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.python import usage

from txpusher._server_options import (
    APP_OPTIONS,
    APPS,
    COMMON_OPTIONS,
    DEFAULT_APP,
    LISTEN,
    SERVER_OPTIONS,
    TROUBLE,
    WEBHOOKS,
    Option,
    settings_of,
)
from txpusher.errors import ConfigurationError
from txpusher.server._app import App
from txpusher.server._server import ChannelsServer
from txpusher.server._service import ChannelsService

_DEFAULT_ENDPOINT = "tcp:6001:interface=127.0.0.1"
_SINGLE = tuple(option for option in (LISTEN, *COMMON_OPTIONS) if not option.is_list)


def _coerce(option: Option) -> Callable[[str], Any]:
    def coerce(text: str) -> Any:
        return option.read(text)

    # Twisted shows it where a value is malformed.
    coerce.coerceDoc = f"{option.metavar}."  # type: ignore[attr-defined]
    return coerce


class Options(usage.Options):
    """
    The options of ``twist channels``, each by environment variable too.

    :ivar service: The service, once the options are parsed.
    """

    service: ChannelsService

    synopsis = "[--listen ENDPOINT] [--app ID:KEY:SECRET]... [options]"
    longdesc = (
        "Run a Channels server for development: one process, in memory. Each option may be "
        "an environment variable instead, TXPUSHER_LISTEN for --listen."
    )
    optParameters = [  # noqa: N815
        [option.name, None, None, option.help, _coerce(option)]
        for option in _SINGLE
        if option.metavar
    ]
    optFlags = [  # noqa: N815
        [option.name, None, option.help] for option in _SINGLE if not option.metavar
    ]

    def __init__(self) -> None:
        super().__init__()
        self._lists: dict[str, list[Any]] = {APPS.name: [], WEBHOOKS.name: []}

    def opt_app(self, text: str) -> None:
        """An app, as ID:KEY:SECRET; may be given several times (1:app-key:app-secret)."""
        try:
            self._lists[APPS.name].append(APPS.read(text))
        except ValueError as error:
            raise usage.UsageError(f"--app: {error}") from None

    def opt_webhook(self, text: str) -> None:
        """A URL to send webhooks to; may be given several times."""
        self._lists[WEBHOOKS.name].append(text)

    def postOptions(self) -> None:
        """
        Make the service, while the runner still takes an error for one of usage.

        :raises UsageError: A setting, or a variable of the environment, is malformed.
        """
        try:
            self.service = self._make_service()
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None

    def _make_service(self) -> ChannelsService:
        given: dict[str, Any] = dict(self._lists)
        for option in _SINGLE:
            value = self[option.name]
            given[option.name] = value if option.metavar else (option.on if value else None)

        def settings(*options: Option) -> dict[str, Any]:
            return settings_of(options, given, os.environ)

        apps = settings(APPS).get("apps") or [APPS.read(DEFAULT_APP)]
        of_apps = settings(WEBHOOKS, *APP_OPTIONS)
        server = ChannelsServer(
            [App(*parts, **of_apps) for parts in apps], **settings(*SERVER_OPTIONS)
        )
        for name, value in settings(TROUBLE).get("trouble", {}).items():
            setattr(server.trouble, name, value)
        return ChannelsService(server, settings(LISTEN).get("endpoint", _DEFAULT_ENDPOINT))


def makeService(options: Options) -> ChannelsService:
    """Return the service of options that were parsed; the runners of Twisted call this."""
    return options.service
