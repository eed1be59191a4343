"""End-to-end encryption: keys, payloads, and what is said where a key is wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import sys

import nacl.exceptions
import nacl.secret
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.credentials import KEY, MASTER_KEY, MASTER_KEY_BASE64, SECRET
from txpusher import Config, Pusher
from txpusher._protocol.encryption import (
    decode_master_key,
    decrypt,
    encrypt,
    is_encrypted,
    shared_secret,
)
from txpusher.errors import ConfigurationError

from .helpers import misconfiguration

CHANNEL = "private-encrypted-room"
KEYS = st.binary(min_size=32, max_size=32)
SETTING = "encryption_master_key_base64"


@pytest.fixture
def without_pynacl(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "nacl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nacl", None)


@pytest.mark.parametrize(
    ("channel", "encrypted"),
    [
        ("private-encrypted-a", True),
        ("private-encrypted-cache-a", True),
        ("private-encrypted", False),
        ("private-a", False),
        ("presence-private-encrypted-a", False),
        ("Private-encrypted-a", False),
    ],
)
def test_prefix_tells_an_encrypted_channel(channel, encrypted):
    assert is_encrypted(channel) is encrypted


def test_shared_secret_is_the_hash_of_the_name_and_the_master_key():
    expected = hashlib.sha256(CHANNEL.encode() + MASTER_KEY).digest()
    assert shared_secret(CHANNEL, MASTER_KEY) == expected


def test_encrypted_payload_can_be_opened_by_a_subscriber():
    payload = json.loads(encrypt(CHANNEL, "Grüße ☃", MASTER_KEY))
    assert list(payload) == ["nonce", "ciphertext"]
    nonce, ciphertext = (base64.b64decode(payload[name], validate=True) for name in payload)
    box = nacl.secret.SecretBox(hashlib.sha256(CHANNEL.encode() + MASTER_KEY).digest())
    assert len(nonce) == 24
    assert box.decrypt(ciphertext, nonce).decode() == "Grüße ☃"


def test_payload_is_compact_json():
    payload = encrypt(CHANNEL, "x", MASTER_KEY)
    assert payload == json.dumps(json.loads(payload), separators=(",", ":"))


def test_nonce_is_never_used_twice():
    payloads = [encrypt(CHANNEL, "x", MASTER_KEY) for _ in range(50)]
    assert len({json.loads(payload)["nonce"] for payload in payloads}) == 50


@given(
    data=st.text(st.characters(exclude_categories=["Cs"])),
    key=st.binary(min_size=32, max_size=32),
)
def test_decrypting_gives_back_what_was_encrypted(data, key):
    assert decrypt(CHANNEL, encrypt(CHANNEL, data, key), key) == data


@pytest.mark.parametrize(
    ("channel", "key"),
    [("private-encrypted-other", MASTER_KEY), (CHANNEL, bytes(32))],
)
def test_payload_cannot_be_opened_with_another_channel_or_key(channel, key):
    payload = encrypt(CHANNEL, "x", MASTER_KEY)
    with pytest.raises(nacl.exceptions.CryptoError):
        decrypt(channel, payload, key)


def test_changed_ciphertext_is_refused():
    payload = json.loads(encrypt(CHANNEL, "some text", MASTER_KEY))
    changed = bytearray(base64.b64decode(payload["ciphertext"]))
    changed[-1] ^= 1
    payload["ciphertext"] = base64.b64encode(changed).decode()
    with pytest.raises(nacl.exceptions.CryptoError):
        decrypt(CHANNEL, json.dumps(payload), MASTER_KEY)


@given(KEYS)
def test_master_key_is_decoded_from_base64(key):
    assert decode_master_key(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize(
    "text",
    [
        "*" * 44,
        "é" * 44,
        MASTER_KEY_BASE64 + "\n",
        f" {MASTER_KEY_BASE64}",
        MASTER_KEY_BASE64.rstrip("="),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    ],
)
def test_master_key_that_is_not_base64_is_refused(text):
    message = misconfiguration(Config, "3", KEY, SECRET, encryption_master_key_base64=text)
    assert message == f"{SETTING} is not valid base64"


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_master_key_of_another_size_is_refused_with_its_size(size):
    text = base64.b64encode(b"\x5a" * size).decode()
    message = misconfiguration(Config, "3", KEY, SECRET, encryption_master_key_base64=text)
    assert message == f"{SETTING} must decode to 32 bytes, not {size}"


@pytest.mark.parametrize("key", [MASTER_KEY_BASE64.encode(), 32, ["AAAA"]])
def test_master_key_that_is_no_text_is_refused_with_its_type(key):
    message = misconfiguration(Config, "3", KEY, SECRET, encryption_master_key_base64=key)
    assert message == f"{SETTING} must be a str, not {type(key).__name__}"


# Of these characters no message is made: hypothesis tries the words of the sources, too.
@given(st.text("0123456789!", min_size=8))
def test_refusal_of_a_master_key_does_not_quote_it(text):
    with pytest.raises(ConfigurationError) as caught:
        decode_master_key(text)
    assert text not in f"{caught.value!r} {caught.value}"


@pytest.mark.usefixtures("without_pynacl")
@pytest.mark.parametrize("make", [Config, Pusher])
def test_missing_pynacl_is_told_with_the_extra_to_install(make):
    message = misconfiguration(
        make, "3", KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64
    )
    assert message == f"{SETTING} needs PyNaCl: pip install 'txpusher[encryption]'"


@pytest.mark.usefixtures("without_pynacl")
def test_private_channel_is_signed_without_pynacl():
    answer = Pusher("3", KEY, SECRET).authenticate("private-a", "1.2")
    assert answer["auth"].startswith(f"{KEY}:")
