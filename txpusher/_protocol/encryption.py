"""
End-to-end encryption of ``private-encrypted-`` channels.

Each channel has a key of its own, which is derived from the master key; the server sees
neither key.  The cipher is NaCl's secretbox.  PyNaCl implements it, and is imported when a
key is first needed (the extra ``txpusher[encryption]``).
Source: "End-to-end encryption" in the Pusher Channels documentation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING

from txpusher._text import is_str
from txpusher.errors import ConfigurationError

if TYPE_CHECKING:
    from nacl.secret import SecretBox

PREFIX = "private-encrypted-"
KEY_BYTES = 32


def is_encrypted(channel: str) -> bool:
    """Tell whether events of *channel* are encrypted from end to end."""
    return channel.startswith(PREFIX)


def decode_master_key(text: str) -> bytes:
    """
    Decode the setting ``encryption_master_key_base64``.

    :return: The 32 bytes of the key.
    :raises ConfigurationError: The text is not base64, or not of 32 bytes, or PyNaCl is
        not installed.  The message does not quote the key.
    """
    if not is_str(text):
        raise ConfigurationError(
            f"encryption_master_key_base64 must be a str, not {type(text).__name__}"
        )
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError("encryption_master_key_base64 is not valid base64") from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"encryption_master_key_base64 must decode to {KEY_BYTES} bytes, not {len(key)}"
        )
    secretbox(key)
    return key


def shared_secret(channel: str, master_key: bytes) -> bytes:
    """Return the 32-byte key of one channel, which its subscribers are given."""
    return hashlib.sha256(channel.encode("utf-8") + master_key).digest()


def encrypt(channel: str, data: str, master_key: bytes) -> str:
    """
    Encrypt *data* for one channel, under a fresh nonce.

    :return: The JSON text that takes the place of *data* in the request.
    """
    message = secretbox(shared_secret(channel, master_key)).encrypt(data.encode("utf-8"))
    return json.dumps(
        {
            "nonce": base64.b64encode(message.nonce).decode("ascii"),
            "ciphertext": base64.b64encode(message.ciphertext).decode("ascii"),
        },
        separators=(",", ":"),
    )


def decrypt(channel: str, payload: str, master_key: bytes) -> str:
    """
    Decrypt what :func:`encrypt` returned.

    :raises nacl.exceptions.CryptoError: The payload was made with another key or for
        another channel.
    """
    message = json.loads(payload)
    box = secretbox(shared_secret(channel, master_key))
    nonce = base64.b64decode(message["nonce"])
    return box.decrypt(base64.b64decode(message["ciphertext"]), nonce).decode("utf-8")


def secretbox(key: bytes, what: str = "encryption_master_key_base64") -> SecretBox:
    """
    Return NaCl's cipher for one key of 32 bytes.

    :param what: The source of the key, for the error.

    :raises ConfigurationError: PyNaCl is not installed.
    """
    try:
        from nacl.secret import SecretBox
    except ImportError:
        raise ConfigurationError(
            f"{what} needs PyNaCl: pip install 'txpusher[encryption]'"
        ) from None
    return SecretBox(key)
