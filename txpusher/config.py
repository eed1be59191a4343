"""
The settings of a client, which are checked once, when the client is made.

A :class:`Config` is frozen data: it holds no connection, no clock and no reactor.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict, cast

import attrs

from txpusher._interfaces import JsonDumps, JsonLoads
from txpusher._json import json_dumps
from txpusher._protocol.encryption import decode_master_key
from txpusher._text import with_type
from txpusher._urls import (
    Proxy,
    clean_host,
    env_settings,
    parse_proxy,
    quote_segment,
    url_settings,
)
from txpusher._validators import (
    boolean,
    clean_path_prefix,
    cluster_name,
    function,
    identifier,
    instance_of,
    plain_str,
    port_or_zero,
    seconds,
    whole_number,
)
from txpusher.errors import ConfigurationError
from txpusher.retry import RetryPolicy

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.web.iweb import IPolicyForHTTPS
    from typing_extensions import Unpack


class Options(TypedDict, total=False):
    """The keyword arguments that every way of making a client takes; see :class:`Config`."""

    cluster: str
    host: str | None
    port: int | None
    use_tls: bool
    path_prefix: str
    sign_path_prefix: bool
    encryption_master_key_base64: str | None
    http_proxy: str | None
    connect_timeout: float
    timeout: float
    keep_alive_timeout: float
    max_connections: int
    max_pending: int | None
    retry: RetryPolicy
    idempotency_keys: bool
    max_payload_bytes: int
    max_batch_size: int
    max_reply_bytes: int
    json_dumps: JsonDumps
    json_loads: JsonLoads
    tls_policy: IPolicyForHTTPS | None
    endpoint: IStreamClientEndpoint | None


def check_tls_policy(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse the setting ``tls_policy`` where it does not provide ``IPolicyForHTTPS``."""
    from twisted.web.iweb import IPolicyForHTTPS

    if not IPolicyForHTTPS.providedBy(value):
        raise ConfigurationError(
            f"tls_policy must provide IPolicyForHTTPS, not be {with_type(value)}"
        )


def check_endpoint(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse the setting ``endpoint`` where it is not an ``IStreamClientEndpoint``."""
    from twisted.internet.interfaces import IStreamClientEndpoint

    if not IStreamClientEndpoint.providedBy(value):
        raise ConfigurationError(
            f"endpoint must provide IStreamClientEndpoint, not be {with_type(value)}"
        )


def _host(value: str | None) -> str:
    return "" if value is None else clean_host("host", value)


@attrs.frozen
class Config:
    """
    The settings of one app on one server.

    :param app_id: The app's id; it need not be digits.
    :param key: The app's key.
    :param secret: The app's secret.
    :param cluster: The Pusher cluster, which gives the host
        ``api-<cluster>.pusher.com``.
    :param host: The host of another server that speaks the protocol.
    :param port: The port of the server; None stands for 443 with TLS, for 80 without.
    :param use_tls: Whether to speak HTTPS.
    :param path_prefix: A path before ``/apps/``.  Slashes at its ends do not
        matter.
    :param sign_path_prefix: Whether the signature covers *path_prefix* too.
        It must not where a proxy in front of the server strips the prefix; it
        must where the server itself has the prefix, as soketi can.
    :param encryption_master_key_base64: The 32 bytes of the master key in base64, for
        ``private-encrypted-`` channels.
    :param http_proxy: The URL of an HTTP proxy, ``http://[user:password@]host[:port]``.
    :param connect_timeout: Seconds to look up the name, connect and shake hands.
    :param timeout: Seconds for one attempt, from the moment when the request is sent to
        the last byte of the reply.
    :param keep_alive_timeout: Seconds that an idle connection is kept.
    :param max_connections: The most sockets that are open at a time.
    :param max_pending: The most operations that wait for a connection, None for any
        number.
    :param retry: The :class:`RetryPolicy`.
    :param idempotency_keys: Whether each POST has a header ``X-Idempotency-Key``, the
        same for each attempt of an operation.
    :param max_payload_bytes: The most bytes of one event's data.
    :param max_batch_size: The most events in one batch.
    :param max_reply_bytes: The most bytes of one reply, unpacked.
    :param json_dumps: A function that encodes data, as str or as UTF-8.
    :param json_loads: A function that decodes replies and webhooks, from bytes.
    :param tls_policy: An ``IPolicyForHTTPS`` in place of the default, which verifies
        certificates against the platform's trust roots.
    :param endpoint: An ``IStreamClientEndpoint`` that stands for the TCP
        connection to *host* and *port*: a Unix socket, Tor.  It excludes
        *http_proxy*.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    # Without a default, Python would refuse a missing setting with a TypeError of its own.
    app_id: str = attrs.field(default="", converter=plain_str, validator=identifier())
    key: str = attrs.field(default="", converter=plain_str, validator=identifier(), repr=False)
    secret: str = attrs.field(
        default="", converter=plain_str, validator=identifier(), repr=False
    )
    cluster: str = attrs.field(
        default="mt1", kw_only=True, converter=plain_str, validator=cluster_name()
    )
    host: str = attrs.field(default=None, kw_only=True, converter=_host)
    port: int = attrs.field(default=None, kw_only=True, converter=port_or_zero)
    use_tls: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    path_prefix: str = attrs.field(default="", kw_only=True, converter=clean_path_prefix)
    sign_path_prefix: bool = attrs.field(default=False, kw_only=True, validator=boolean())
    encryption_master_key_base64: str | None = attrs.field(
        default=None, kw_only=True, repr=False
    )
    http_proxy: str | None = attrs.field(default=None, kw_only=True, repr=False)
    connect_timeout: float = attrs.field(default=5.0, kw_only=True, validator=seconds())
    timeout: float = attrs.field(default=5.0, kw_only=True, validator=seconds())
    keep_alive_timeout: float = attrs.field(default=30.0, kw_only=True, validator=seconds())
    max_connections: int = attrs.field(default=16, kw_only=True, validator=whole_number(1))
    max_pending: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(whole_number(0))
    )
    retry: RetryPolicy = attrs.field(
        factory=RetryPolicy,
        kw_only=True,
        validator=instance_of(RetryPolicy, "a RetryPolicy"),
    )
    idempotency_keys: bool = attrs.field(default=False, kw_only=True, validator=boolean())
    max_payload_bytes: int = attrs.field(default=10240, kw_only=True, validator=whole_number(1))
    max_batch_size: int = attrs.field(default=10, kw_only=True, validator=whole_number(1))
    max_reply_bytes: int = attrs.field(default=2**20, kw_only=True, validator=whole_number(1))
    json_dumps: JsonDumps = attrs.field(default=json_dumps, kw_only=True, validator=function())
    json_loads: JsonLoads = attrs.field(default=json.loads, kw_only=True, validator=function())
    tls_policy: IPolicyForHTTPS | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_tls_policy)
    )
    endpoint: IStreamClientEndpoint | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_endpoint)
    )

    #: The 32 bytes of the encryption key, None without one.
    master_key: bytes | None = attrs.field(init=False, repr=False)
    #: The proxy of *http_proxy*, None without one.
    proxy: Proxy | None = attrs.field(init=False, repr=False)

    @master_key.default
    def _decode_master_key(self) -> bytes | None:
        text = self.encryption_master_key_base64
        return None if text is None else decode_master_key(text)

    @proxy.default
    def _parse_proxy(self) -> Proxy | None:
        return None if self.http_proxy is None else parse_proxy(self.http_proxy)

    def __attrs_post_init__(self) -> None:
        if not self.host:
            object.__setattr__(self, "host", f"api-{self.cluster}.pusher.com")
        if not self.port:
            object.__setattr__(self, "port", 443 if self.use_tls else 80)
        if self.endpoint is not None and self.proxy is not None:
            raise ConfigurationError(
                "endpoint and http_proxy exclude each other: both say how to reach the server"
            )

    @property
    def scheme(self) -> str:
        """Return ``"https"`` or ``"http"``."""
        return "https" if self.use_tls else "http"

    @property
    def netloc(self) -> str:
        """Return host and port as in a URL, without the port where it is the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.use_tls else 80) else f"{host}:{self.port}"

    @property
    def app_path(self) -> str:
        """Return ``/apps/<app_id>``, percent-escaped: every request's path begins with it."""
        return f"/apps/{quote_segment(self.app_id)}"

    @property
    def signed_prefix(self) -> str:
        """Return the part of *path_prefix* that the signature covers: all of it or nothing."""
        return self.path_prefix if self.sign_path_prefix else ""

    @classmethod
    def from_url(cls, url: str, **options: Unpack[Options]) -> Config:
        """
        Read the settings in ``https://KEY:SECRET@HOST[:PORT][/prefix]/apps/APP_ID``.

        :param options: Any other setting.  A setting that is given here wins over the URL.
        :raises ConfigurationError: The URL is malformed.  The message does not quote the
            URL, which holds the secret.
        """
        return cls(**url_settings(url, cast("dict[str, Any]", options)))

    @classmethod
    def from_env(cls, name: str = "PUSHER_URL", **options: Unpack[Options]) -> Config:
        """
        Read the settings in the environment variable *name*, as :meth:`from_url` does.

        :raises ConfigurationError: The variable is not set, or the URL in it is malformed.
        """
        return cls(**env_settings(name, cast("dict[str, Any]", options)))
