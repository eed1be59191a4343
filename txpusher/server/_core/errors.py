"""
How the handling of one message ends early: each says what the client is told.
"""

from __future__ import annotations

from txpusher.server._core.messages import error, subscription_error


class RejectedError(Exception):
    """A message that cannot be acted on; the connection goes on."""

    def __init__(self, message: str, code: int | None = None, channel: str | None = None):
        super().__init__(message)
        self.answer = error(code, message, channel)


class SubscriptionRefusedError(RejectedError):
    """One subscription that cannot be; the connection goes on."""

    def __init__(self, channel: str, kind: str, message: str, status: int):
        super().__init__(message)
        self.answer = subscription_error(channel, kind, message, status)


class UnauthorizedError(Exception):
    """What ends the connection with 4009."""
