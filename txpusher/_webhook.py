"""
:class:`WebHook`: a message of the server to the application, verified and read.

How the parts of a webhook are found in a request is described in
:mod:`txpusher._webhook_parts`.
Source: "Webhooks" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, cast

from twisted.logger import Logger

from txpusher._protocol.signing import hmac_hex, same_signature
from txpusher._text import is_str, short_repr
from txpusher._validators import check_timeout, is_number
from txpusher._webhook_parts import Parts, body_bytes, header_text
from txpusher.config import Config
from txpusher.errors import InvalidRequestError, WebHookError

_log = Logger(namespace="txpusher")


class WebHook:
    """
    One webhook, as received: :meth:`Pusher.webhook` makes it.

    The age that ``max_age`` bounds is the webhook's age at that moment.

    :ivar key: The app key that the sender named, None without one.
    :ivar signature: The signature that came with the webhook, None without one.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        *,
        extra_tokens: Iterable[tuple[str, str]] = (),
        max_age: float | None = None,
        now: float = 0.0,
    ) -> None:
        self.key = header_text("key", parts.key)
        self.signature = header_text("signature", parts.signature)
        self._config = config
        self._body = body_bytes(parts.body)
        self._content_type = header_text("content_type", parts.content_type)
        self._tokens = [(config.key, config.secret), *_tokens(extra_tokens)]
        self._max_age = _max_age(max_age)
        self._now = now

    def __repr__(self) -> str:
        verdict = "valid" if self._refusal is None else "invalid"
        return f"<WebHook {verdict}, {len(self._body)} bytes>"

    @cached_property
    def is_valid(self) -> bool:
        """
        Tell whether a secret of the key that is named has signed the body.

        Where ``max_age`` was given, the webhook must also have been sent within so many
        seconds of now, either way.  Nothing else about the webhook is looked at.
        """
        if self._refusal is not None:
            _log.warn("refused a webhook: {reason}", reason=self._refusal)
        return self._refusal is None

    @property
    def reason(self) -> str | None:
        """
        Say in words why the webhook is not valid, or is valid and cannot be read.

        It is None where the webhook is valid and can be read.
        """
        return self._refusal or self._media_type_problem or self._decoded[1]

    @cached_property
    def _refusal(self) -> str | None:
        if not self.key:
            return "it has no X-Pusher-Key"
        if not self.signature:
            return "it has no X-Pusher-Signature"
        secrets = [secret for key, secret in self._tokens if key == self.key]
        if not secrets:
            return "its key is not the app's, nor one of extra_tokens"
        # All of them, so that the time does not tell which one has signed.
        matches = [
            same_signature(hmac_hex(secret, self._body), self.signature) for secret in secrets
        ]
        return self._age_problem if any(matches) else "its signature is wrong"

    @cached_property
    def _age_problem(self) -> str | None:
        if self._max_age is None:
            return None
        data, problem = self._decoded
        if problem is not None:
            return f"its age cannot be told: {problem}"
        age = self._now - data["time_ms"] / 1000
        if abs(age) <= self._max_age:
            return None
        relation = "old" if age > 0 else "ahead of the clock"
        return f"it is {abs(age):.0f} seconds {relation}, and max_age is {self._max_age:g}"

    @property
    def _media_type_problem(self) -> str | None:
        media_type = (self._content_type or "").partition(";")[0].strip().lower()
        if media_type == "application/json":
            return None
        return f"its media type must be application/json, not {short_repr(media_type)}"

    @cached_property
    def _decoded(self) -> tuple[dict[str, Any], str | None]:
        """The body and None, or an empty object and in words why the body cannot be read."""
        try:
            value = self._config.json_loads(self._body)
        except Exception:
            return {}, "its body is not JSON"
        if not isinstance(value, dict):
            return {}, f"its body must be a JSON object, not a {type(value).__name__}"
        events, time_ms = value.get("events"), value.get("time_ms")
        if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
            return {}, "it has no list of events"
        if not is_number(time_ms):
            return {}, "it has no time_ms"
        try:
            _time(cast(float, time_ms))
        except (ValueError, OverflowError, OSError):
            return {}, "its time_ms is not a time"
        return value, None

    @property
    def data(self) -> dict[str, Any]:
        """
        The whole body, decoded.

        :raises WebHookError: The webhook is not valid, or its body is not the JSON object
            that a webhook has; the message is :attr:`reason`'s.
        """
        if not self.is_valid:
            raise WebHookError(
                f"the webhook is not valid, do not trust what it says: {self.reason}"
            )
        if self.reason is not None:
            raise WebHookError(f"the webhook cannot be read: {self.reason}")
        return self._decoded[0]

    @property
    def events(self) -> list[dict[str, Any]]:
        """
        The events, each a mapping with its ``name`` and, most often, ``channel``.

        :raises WebHookError: As :attr:`data`.
        """
        events: list[dict[str, Any]] = self.data["events"]
        return events

    @property
    def time(self) -> datetime:
        """
        The time when the webhook was sent, an aware datetime in UTC.

        :raises WebHookError: As :attr:`data`.
        """
        return _time(self.data["time_ms"])


def _time(time_ms: float) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc)


def _max_age(max_age: float | None) -> float | None:
    check_timeout("max_age", max_age)
    return max_age


def _is_token(pair: object) -> bool:
    return (
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and all(is_str(part) and part and part.isprintable() for part in pair)
    )


def _tokens(extra_tokens: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs, checked: with an empty secret anyone could sign."""
    tokens = list(extra_tokens) if isinstance(extra_tokens, Iterable) else None
    if tokens is None or not all(map(_is_token, tokens)):
        # The message quotes no token, because a token is a secret.
        raise InvalidRequestError(
            "extra_tokens must be pairs of a key and a secret, each a str that is not empty"
        )
    return tokens
