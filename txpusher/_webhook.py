"""
Webhooks: what the server tells an application, verified and read.

Source: "Webhooks" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from twisted.logger import Logger
from twisted.web.iweb import IRequest

from txpusher._protocol.signing import hmac_hex, same_signature
from txpusher._text import short_repr
from txpusher.config import Config
from txpusher.errors import InvalidRequestError, WebHookError

_log = Logger(namespace="txpusher")

#: What a header or a body comes as.
Text = bytes | str | None


class WebHook:
    """
    One webhook, as received.

    :ivar key: The app key that its sender named, None without one.
    :ivar signature: The signature that came with it, None without one.
    """

    def __init__(
        self,
        config: Config,
        *,
        key: Text,
        signature: Text,
        body: Text,
        content_type: Text,
        extra_tokens: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.key = _text("key", key)
        self.signature = _text("signature", signature)
        self._config = config
        self._body = _bytes(body)
        self._content_type = _text("content_type", content_type)
        self._tokens = [(config.key, config.secret), *_tokens(extra_tokens)]

    def __repr__(self) -> str:
        verdict = "valid" if self._problem is None else "invalid"
        return f"<WebHook {verdict}, {len(self._body)} bytes>"

    @cached_property
    def is_valid(self) -> bool:
        """
        Whether the signature is that of the body, by a secret of the key named.

        Nothing else about the webhook is looked at.
        """
        if self._problem is not None:
            _log.warn("refused a webhook: {reason}", reason=self._problem)
        return self._problem is None

    @cached_property
    def _problem(self) -> str | None:
        if not self.key or not self.signature:
            return "it names no key or has no signature"
        secrets = [secret for key, secret in self._tokens if key == self.key]
        for secret in secrets:
            if same_signature(hmac_hex(secret, self._body), self.signature):
                return None
        return "the signature is wrong" if secrets else "the key is unknown"

    @cached_property
    def data(self) -> dict[str, Any]:
        """
        The whole body, decoded.

        :raises WebHookError: The webhook is not valid, or its body is not the
            JSON object that a webhook has.
        """
        if not self.is_valid:
            raise WebHookError("the webhook is not valid: do not trust what it says")
        media_type = (self._content_type or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise WebHookError(
                "the webhook's media type must be application/json, "
                f"not {short_repr(media_type)}"
            )
        try:
            value = self._config.json_loads(self._body)
        except Exception as error:
            raise WebHookError("the webhook's body is not JSON") from error
        if not isinstance(value, dict):
            raise WebHookError(
                f"the webhook's body must be a JSON object, not a {type(value).__name__}"
            )
        events, time_ms = value.get("events"), value.get("time_ms")
        if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
            raise WebHookError("the webhook has no list of events")
        if isinstance(time_ms, bool) or not isinstance(time_ms, (int, float)):
            raise WebHookError("the webhook has no time_ms")
        return value

    @property
    def events(self) -> list[dict[str, Any]]:
        """
        The events, each with its ``name`` and, most often, ``channel``.

        :raises WebHookError: As :attr:`data`.
        """
        events: list[dict[str, Any]] = self.data["events"]
        return events

    @property
    def time(self) -> datetime:
        """
        When the webhook was sent, in UTC.

        :raises WebHookError: As :attr:`data`.
        """
        try:
            return datetime.fromtimestamp(self.data["time_ms"] / 1000, timezone.utc)
        except (ValueError, OverflowError, OSError) as error:
            raise WebHookError("the webhook's time_ms is not a time") from error


def read_webhook(
    config: Config,
    request: IRequest | None,
    *,
    key: Text,
    signature: Text,
    body: Text,
    content_type: Text,
    extra_tokens: Iterable[tuple[str, str]],
) -> WebHook:
    """
    A :class:`WebHook` of a twisted.web request, or of its parts.

    A part that is given stands for that of the request; the content type is
    the request's own.
    """
    if request is not None:
        key = request.getHeader(b"X-Pusher-Key") if key is None else key
        signature = request.getHeader(b"X-Pusher-Signature") if signature is None else signature
        content_type = request.getHeader(b"Content-Type")
        if body is None:
            content = request.content
            content.seek(0)
            body = content.read()
            content.seek(0)
    return WebHook(
        config,
        key=key,
        signature=signature,
        body=body,
        content_type=content_type,
        extra_tokens=extra_tokens,
    )


def _text(what: str, value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(
            f"{what} of a webhook must be str or bytes, not {type(value).__name__}"
        )
    return value


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    if body is not None and not isinstance(body, (bytes, bytearray, memoryview)):
        raise InvalidRequestError(
            f"body of a webhook must be str or bytes, not {type(body).__name__}"
        )
    return bytes(body or b"")


def _is_token(pair: object) -> bool:
    return (
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and all(isinstance(part, str) and part and part.isprintable() for part in pair)
    )


def _tokens(extra_tokens: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs, checked: with an empty secret anyone could sign."""
    tokens = list(extra_tokens) if isinstance(extra_tokens, Iterable) else None
    if tokens is None or not all(map(_is_token, tokens)):
        # None of them is quoted: they are secrets.
        raise InvalidRequestError(
            "extra_tokens must be pairs of a key and a secret, each a str that is not empty"
        )
    return tokens
