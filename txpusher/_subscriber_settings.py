"""
The settings of a subscriber, checked once, when it is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypedDict

import attrs

from txpusher._protocol.encryption import decode_master_key
from txpusher._protocol.incoming import PROTOCOL
from txpusher._urls import Proxy, clean_host, parse_proxy, quote_segment
from txpusher._validators import (
    boolean,
    clean_path_prefix,
    cluster_name,
    identifier,
    instance_of,
    plain_str,
    port_or_zero,
    seconds,
    whole_number,
)
from txpusher._version import __version__
from txpusher.config import check_endpoint, check_tls_policy
from txpusher.errors import ConfigurationError
from txpusher.retry import RetryPolicy

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.web.iweb import IPolicyForHTTPS

    from txpusher._authorizing import Authorizer, UserAuthorizer
    from txpusher._interfaces import AnyReactor


_API_HOST = re.compile(r"api-([A-Za-z0-9-]+)\.pusher\.com").fullmatch


def websocket_host(host: str) -> str:
    """Return the host for WebSockets beside *host*, the host of the HTTP API."""
    hosted = _API_HOST(host)
    return f"ws-{hosted[1]}.pusher.com" if hosted else host


class SubscriberOptions(TypedDict, total=False):
    """The keyword arguments of :class:`~txpusher.Subscriber` that are settings."""

    cluster: str
    host: str | None
    port: int | None
    use_tls: bool
    path_prefix: str
    encryption_master_key_base64: str | None
    activity_timeout: float
    pong_timeout: float
    connect_timeout: float
    max_buffered: int
    retry: RetryPolicy
    tls_policy: IPolicyForHTTPS | None
    http_proxy: str | None
    endpoint: IStreamClientEndpoint | None


class ForPusherOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`~txpusher.Subscriber.for_pusher` beside host and port."""

    use_tls: bool
    path_prefix: str
    authorizer: Authorizer | None
    user_authorizer: UserAuthorizer | None
    encryption_master_key_base64: str | None
    activity_timeout: float
    pong_timeout: float
    connect_timeout: float
    max_buffered: int
    retry: RetryPolicy
    tls_policy: IPolicyForHTTPS | None
    http_proxy: str | None
    endpoint: IStreamClientEndpoint | None
    reactor: AnyReactor | None


def _host(value: str | None) -> str:
    return "" if value is None else clean_host("host", value)


@attrs.frozen(kw_only=True)
class Settings:
    """
    The settings of one :class:`~txpusher.Subscriber`, which documents them.

    :raises ConfigurationError: A setting is missing or malformed.
    """

    key: str = attrs.field(converter=plain_str, validator=identifier(), repr=False)
    cluster: str = attrs.field(default="mt1", converter=plain_str, validator=cluster_name())
    host: str = attrs.field(default=None, converter=_host)
    port: int = attrs.field(default=None, converter=port_or_zero)
    use_tls: bool = attrs.field(default=True, validator=boolean())
    path_prefix: str = attrs.field(default="", converter=clean_path_prefix)
    encryption_master_key_base64: str | None = attrs.field(default=None, repr=False)
    activity_timeout: float = attrs.field(default=120.0, validator=seconds())
    pong_timeout: float = attrs.field(default=30.0, validator=seconds())
    connect_timeout: float = attrs.field(default=5.0, validator=seconds())
    max_buffered: int = attrs.field(default=1000, validator=whole_number(1))
    retry: RetryPolicy = attrs.field(
        factory=RetryPolicy, validator=instance_of(RetryPolicy, "a RetryPolicy")
    )
    tls_policy: IPolicyForHTTPS | None = attrs.field(
        default=None, validator=attrs.validators.optional(check_tls_policy)
    )
    http_proxy: str | None = attrs.field(default=None, repr=False)
    endpoint: IStreamClientEndpoint | None = attrs.field(
        default=None, validator=attrs.validators.optional(check_endpoint)
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
            object.__setattr__(self, "host", f"ws-{self.cluster}.pusher.com")
        if not self.port:
            object.__setattr__(self, "port", 443 if self.use_tls else 80)
        if self.endpoint is not None and self.proxy is not None:
            raise ConfigurationError(
                "endpoint and http_proxy exclude each other: both say how to reach the server"
            )

    @property
    def netloc(self) -> str:
        """Return host and port as the Host header has them, the default port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.use_tls else 80) else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """Return the path and the query of the handshake."""
        return (
            f"{self.path_prefix}/app/{quote_segment(self.key)}"
            f"?protocol={PROTOCOL}&client=txpusher&version={__version__}"
        )
