# -*- test-case-name: tests.unit.test_cli -*-
"""
Where commands take an app's settings from: the environment or a file, so that no secret has
to stand among the arguments, which every user of the machine can read.
"""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from txpusher.errors import ConfigurationError

if TYPE_CHECKING:
    from txpusher.client import Pusher

VARIABLE = "PUSHER_URL"
FILE_VARIABLE = "PUSHER_URL_FILE"
_MASTER_KEY_VARIABLE = "PUSHER_ENCRYPTION_MASTER_KEY"
_PROXY_VARIABLE = "PUSHER_PROXY"
#: A file that holds a URL is not larger.
_MOST = 65536


def find_url(file: str | None) -> tuple[str, str]:
    """
    Return the PUSHER_URL, and what names it in messages.

    :param file: The file of ``--url-file``, which wins over the environment.
    :raises ConfigurationError: There is none, or the file cannot be read.
    """
    if file is not None:
        return read_url(file), f"the URL in {file}"
    url = os.environ.get(VARIABLE, "").strip()
    if url:
        return url, VARIABLE
    named = os.environ.get(FILE_VARIABLE, "")
    if named:
        return read_url(named), f"the URL in {named}"
    raise ConfigurationError(
        f"{VARIABLE} is missing: set it to https://KEY:SECRET@HOST/apps/APP_ID, "
        "or give --url-file FILE"
    )


def read_url(file: str) -> str:
    """
    Return the URL in a file: the first line with ``PUSHER_URL=``, else the only line.

    :raises ConfigurationError: The file cannot be read, or has no such line.  The message
        does not quote the file.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            lines = [line.strip() for line in opened.read(_MOST).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(f"cannot read {file}: {reason}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and name.strip() == VARIABLE:
            return _unquoted(value.strip())
    if len(lines) == 1 and "=" not in lines[0].partition("://")[0]:
        return _unquoted(lines[0])
    raise ConfigurationError(f"{file} has neither a line {VARIABLE}=URL nor a URL alone")


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def settings_of(arguments: Namespace) -> dict[str, Any]:
    """
    Return the arguments of a Pusher.

    :raises ConfigurationError: A setting is missing or malformed.
    """
    from txpusher._urls import url_settings
    from txpusher.retry import RetryPolicy

    url, name = find_url(arguments.url_file)
    settings: dict[str, Any] = url_settings(url, {}, name)
    master_key = os.environ.get(_MASTER_KEY_VARIABLE, "").strip()
    if master_key:
        settings["encryption_master_key_base64"] = master_key
    timeout = getattr(arguments, "timeout", None)
    if timeout is not None:
        settings["timeout"] = settings["connect_timeout"] = timeout
        settings["retry"] = RetryPolicy(max_retries=arguments.retries)
        proxy = arguments.proxy or os.environ.get(_PROXY_VARIABLE, "").strip()
        if proxy:
            settings["http_proxy"] = proxy
    return settings


def make_client(arguments: Namespace, **options: Any) -> Pusher:
    """
    Make the client of a command.

    :raises ConfigurationError: A setting is missing or malformed.
    """
    from txpusher.client import Pusher

    return Pusher(**{**settings_of(arguments), **options})
