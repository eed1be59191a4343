"""
The settings that are URLs or parts of URLs: ``PUSHER_URL``, the proxy, hosts and paths.

No message here quotes a URL, nor does an exception in its context: a URL may hold a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs

from txpusher._text import as_plain_str, is_str, short_repr, with_type, with_wrong_type
from txpusher.errors import ConfigurationError, InvalidRequestError

_PARAM_NAME = re.compile(r"[A-Za-z0-9_\-.]+").fullmatch
_PATH_CHARS = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*"
_RAW_PATH = re.compile(rf"(?:/{_PATH_CHARS})+").fullmatch
_DOTS = re.compile(r"(?:\.|%2[Ee]){1,2}").fullmatch

#: What a path segment may hold as it is (RFC 3986, "pchar").
_SEGMENT_SAFE = "-._~!$&'()*+,;=:@"


def redacted_repr(value: object) -> str:
    """
    Return *value* for an error message, or other words for it where it may hold a secret.

    A value with an ``@`` may be a URL with a password that was put into the wrong setting.
    """
    return "a URL with credentials" if "@" in short_repr(value, 10_000) else short_repr(value)


def clean_host(setting: str, value: object) -> str:
    """
    Return *value* as the ASCII host of a URL, without the brackets of an IPv6 address.

    :raises ConfigurationError: *value* is neither a host name nor an IP address.  The
        message names *setting*.
    """
    if not is_str(value):
        raise ConfigurationError(f"{setting} must be a str, not {type(value).__name__}")
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if ":" in bare:
        try:
            return str(IPv6Address(bare))
        except ValueError:
            pass
    elif bare == value:
        try:
            ascii_host = bare.encode("idna").decode("ascii") if bare else ""
        except UnicodeError:
            ascii_host = ""
        if re.fullmatch(r"[A-Za-z0-9._-]+", ascii_host):
            return ascii_host
    raise ConfigurationError(
        f"{setting} must be a host name or an IP address, without scheme or port, "
        f"not {redacted_repr(value)}"
    )


def quote_segment(text: str) -> str:
    """
    Percent-escape *text* as one segment of a path.

    Characters that a path allows stay as they are: some servers verify the signature
    without decoding the path.
    """
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return _keep_last_semicolon(quote(text, safe=_SEGMENT_SAFE))


def _keep_last_semicolon(path: str) -> str:
    # Twisted's Agent drops a lone ';' at the end of a path.
    return f"{path[:-1]}%3B" if path.endswith(";") else path


def is_raw_path(path: str) -> bool:
    """
    Tell whether *path* can be sent as it is.

    It is absolute and percent-escaped, and has no segment ``.`` or ``..``, escaped or not:
    a server or a proxy may resolve those, and the signature would no longer fit.
    """
    return _RAW_PATH(path) is not None and not any(map(_DOTS, path.split("/")))


def check_path(path: object) -> str:
    """
    Return *path* as it goes into a request.

    :raises InvalidRequestError: The path cannot be sent as it is.
    """
    if not is_str(path) or not is_raw_path(path):
        raise InvalidRequestError(
            "path must begin with / and hold only what a URL path may, percent-escaped "
            f"and without . and .. segments, not {with_wrong_type(str, path)}"
        )
    return _keep_last_semicolon(as_plain_str(path))


def check_param_name(name: object) -> str:
    """
    Return the name of a query parameter in lower case, as it is signed.

    :raises InvalidRequestError: The name is not one or more of ``A-Za-z0-9_-.``.
    """
    if not is_str(name):
        raise InvalidRequestError(f"the name of a param must be a str, not {with_type(name)}")
    if not _PARAM_NAME(name):
        raise InvalidRequestError(
            f"the name of a param must be of A-Z a-z 0-9 _ - . only, not {short_repr(name)}"
        )
    return name.lower()


@attrs.frozen
class Proxy:
    """
    An HTTP proxy.

    :ivar host: The host that the proxy listens on, in ASCII.
    :ivar port: Its TCP port.
    :ivar user: The name of the user that the proxy asks for, empty for none.
    :ivar password: The user's password.
    """

    host: str
    port: int
    user: str = attrs.field(default="", repr=False)
    password: str = attrs.field(default="", repr=False)


def parse_proxy(url: object) -> Proxy:
    """
    Read ``http://[user:password@]host[:port]``; the port is 80 where the URL has none.

    :raises ConfigurationError: The URL has another form.  The message does not quote the
        URL, which may hold a password.
    """
    if not is_str(url):
        raise ConfigurationError(f"http_proxy must be a str, not {type(url).__name__}")
    parts, port = _split_url("http_proxy", url)
    if parts.scheme != "http":
        raise ConfigurationError("http_proxy must be http://[user:password@]host[:port]")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError("http_proxy must have no path, query or fragment")
    host = clean_host("http_proxy host", parts.hostname or "")
    user, password = (
        _unescape("http_proxy", text) for text in (parts.username, parts.password)
    )
    if password and not user:
        raise ConfigurationError("http_proxy has a password but no user")
    return Proxy(host, port or 80, user, password)


_ESCAPES = "percent-escape what is not a letter or a digit in keys and passwords"


def _split_url(setting: str, url: str) -> tuple[SplitResult, int | None]:
    url = url.strip()
    # urlsplit would drop some of these without a word.
    if not url.isprintable():
        raise ConfigurationError(f"{setting} must not contain control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts = None
    if parts is None:
        # Not in the except clause: what is raised there quotes the URL.
        raise ConfigurationError(f"{setting} is not a valid URL; {_ESCAPES}")
    if port == 0:
        raise ConfigurationError(f"{setting} must have a port from 1 to 65535, not 0")
    return parts, port


def _unescape(setting: str, text: str | None) -> str:
    try:
        return unquote(text or "", errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{setting} has a percent-escape that is not UTF-8") from None


def url_settings(url: str, options: Mapping[str, Any], setting: str = "url") -> dict[str, Any]:
    """
    Return the settings in a PUSHER_URL, by their names in :class:`Config`, and *options*.

    An option wins over the URL.  A cluster wins over the host and the port, because it
    stands for a host.

    :param setting: The name of the URL, for messages.
    :raises ConfigurationError: The URL is malformed.  The message does not quote it.
    """
    if not is_str(url):
        raise ConfigurationError(f"{setting} must be a str, not {type(url).__name__}")
    parts, port = _split_url(setting, url)
    if parts.scheme not in ("https", "http"):
        raise ConfigurationError(
            f"{setting} must be https://KEY:SECRET@HOST[:PORT][/prefix]/apps/APP_ID"
        )
    if "?" in url or "#" in url:
        raise ConfigurationError(f"{setting} must have no query and no fragment; {_ESCAPES}")
    prefix, found, app_id = parts.path.rstrip("/").rpartition("/apps/")
    if not found or not app_id or "/" in app_id:
        raise ConfigurationError(f"{setting} must end in /apps/APP_ID")
    if not parts.username or not parts.password:
        raise ConfigurationError(f"{setting} must have KEY:SECRET@ before the host")
    if not parts.hostname:
        raise ConfigurationError(f"{setting} must name a host")
    settings = {
        "app_id": _unescape(setting, app_id),
        "key": _unescape(setting, parts.username),
        "secret": _unescape(setting, parts.password),
        "host": clean_host(f"{setting} host", _unescape(setting, parts.hostname)),
        "use_tls": parts.scheme == "https",
        "path_prefix": prefix,
    }
    if port is not None:
        settings["port"] = port
    if "cluster" in options:
        del settings["host"]
        settings.pop("port", None)
    return {**settings, **options}


def check_endpoint_url(setting: str, url: object) -> str:
    """
    Return *url* as a plain str where it is http:// or https:// with a host.

    :param setting: The name of the URL, for messages.
    :raises ConfigurationError: The URL has another form, or a user before the host.  The
        message quotes the scheme and the host alone.
    """
    if not is_str(url):
        raise ConfigurationError(f"{setting} must be a str, not {type(url).__name__}")
    parts, _ = _split_url(setting, url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https"):
        # An @ after the host may be that of a user whose password has a slash.
        shown = parts.netloc and "@" not in f"{parts.path}{parts.query}{parts.fragment}"
        given = f", not {short_repr(f'{parts.scheme}://{host}')}" if shown else ""
        raise ConfigurationError(f"{setting} must begin with http:// or https://{given}")
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{setting} must have no user and no password: they can be sent as a header"
        )
    if not host:
        raise ConfigurationError(f"{setting} must name a host")
    clean_host(f"the host of {setting}", host)
    return as_plain_str(url).strip()


def env_settings(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what :func:`url_settings` reads in the environment variable *name*.

    :raises ConfigurationError: The variable is not set, or the URL in it is malformed.
    """
    if not is_str(name):
        raise ConfigurationError(
            f"the name of an environment variable must be a str, not {type(name).__name__}"
        )
    url = os.environ.get(name, "")
    if not url.strip():
        raise ConfigurationError(f"{name} is missing: the environment variable is not set")
    return url_settings(url, options, name)
