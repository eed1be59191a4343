"""Nothing secret of channels and sign-ins is quoted from the words of others."""

from __future__ import annotations

import base64
import json

import pytest

from txpusher._protocol.redaction import may_authorize, redact_signatures

#: 32 bytes whose base64 has a slash and a plus.
KEY_OF_CHANNEL = base64.b64encode(bytes([0xFB, 0xEF, 0xFF, *range(29)])).decode()


@pytest.mark.parametrize("text", ["{}", "wrong: '{}'", "x={}&y", '{{"key":"{}"}}'])
@pytest.mark.parametrize(
    "word",
    [
        "0f" * 32,
        "0F" * 16,
        KEY_OF_CHANNEL,
        KEY_OF_CHANNEL.replace("/", r"\/"),
        KEY_OF_CHANNEL.replace("=", r"\u003d"),
        base64.urlsafe_b64encode(bytes(range(223, 255))).decode(),
    ],
)
def test_signature_and_key_are_replaced(word, text):
    assert redact_signatures(text.format(word)) == text.format("[redacted]")


@pytest.mark.parametrize("text", ["", "private-encrypted-orders", "deadbeef", "a" * 31, "k=v"])
def test_other_words_are_unchanged(text):
    assert redact_signatures(text) == text


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"auth": "key:1"}),
        json.dumps({"shared_secret": "s"}),
        "auth=key%3A1",
        "{'auth': 'key:1'}",
        "x_auth: 1",
    ],
)
def test_answer_with_a_secret_field_is_seen(text):
    assert may_authorize(text)


@pytest.mark.parametrize("run", ["z", "\\/", "a/", "f "])
def test_long_text_is_read_once(run):
    # Read from each of its places anew, it would take an hour.
    assert redact_signatures(run * 500_000) == run * 500_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unauthorized",
        "not authorized",
        "authentication",
        "{}",
        "<pre>Cannot POST /pusher/auth</pre>",
        '{"detail":"auth token expired"}',
    ],
)
def test_words_about_authorisation_are_no_secret_field(text):
    assert not may_authorize(text)
