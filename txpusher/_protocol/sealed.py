"""
Events of encrypted channels, as a subscriber opens them.

Source: "End-to-end encryption" in the Pusher Channels documentation.
"""

from __future__ import annotations

import base64
import binascii

from txpusher._protocol.encryption import KEY_BYTES, secretbox
from txpusher._text import with_type

NONCE_BYTES = 24


class WrongKeyError(Exception):
    """The event was encrypted with another key than this one."""


class MalformedError(Exception):
    """The event is not what encryption makes; no key opens it."""


class ChannelKey:
    """
    The key of one encrypted channel, which its subscribers are given.

    :param shared_secret: The ``shared_secret`` of an authorizer's answer.
    :raises ValueError: It is not 32 bytes in base64; it is not quoted.
    :raises ConfigurationError: PyNaCl is not installed.
    """

    def __init__(self, shared_secret: object) -> None:
        if not isinstance(shared_secret, str):
            raise ValueError(f"shared_secret must be a str, not {type(shared_secret).__name__}")
        try:
            key = base64.b64decode(shared_secret, validate=True)
        except ValueError:
            raise ValueError("shared_secret is not valid base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"shared_secret must be {KEY_BYTES} bytes, not {len(key)}")
        self._box = secretbox(key, "shared_secret")

    def open(self, data: object) -> str:
        """
        Return the text that was encrypted.

        :param data: The data of an event, decoded.
        :raises WrongKeyError: It was encrypted with another key.
        :raises MalformedError: It has no nonce or no ciphertext, or what it holds is not text.
        """
        from nacl.exceptions import CryptoError

        nonce, ciphertext = _parts(data)
        try:
            text = self._box.decrypt(ciphertext, nonce)
        except CryptoError:
            raise WrongKeyError from None
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedError("the text is not UTF-8") from None


def _parts(data: object) -> tuple[bytes, bytes]:
    if not isinstance(data, dict):
        raise MalformedError(f"the data must be a JSON object, not {with_type(data)}")
    try:
        nonce, ciphertext = (base64.b64decode(data[name]) for name in ("nonce", "ciphertext"))
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise MalformedError("nonce and ciphertext must be base64") from None
    if len(nonce) != NONCE_BYTES:
        raise MalformedError(f"the nonce must be {NONCE_BYTES} bytes, not {len(nonce)}")
    return nonce, ciphertext
