"""Nothing secret is quoted from a reply, whatever it says."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.credentials import KEY, MASTER_KEY_BASE64, SECRET
from txpusher import Config
from txpusher._reply import ApiReply, redactor
from txpusher.errors import APIError

from .helpers import make_api

PROXY = "http://me:pa%20ss-word@proxy:8080"
SIGNATURE = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
BASIC = base64.b64encode(b"me:pa ss-word").decode()
TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789", min_size=12, max_size=40)

redact = redactor(
    Config("3", KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64, http_proxy=PROXY)
)


@pytest.mark.parametrize(
    "word", [KEY, SECRET, MASTER_KEY_BASE64, "pa ss-word", BASIC, SIGNATURE, SIGNATURE.upper()]
)
@pytest.mark.parametrize("text", ["{}", "Wrong: '{}'", "key={}&x", ">{}<", "{0} {0}"])
def test_secret_text_is_replaced(word, text):
    assert redact(text.format(word)) == text.format("[redacted]")


@pytest.mark.parametrize("around", [r"\n{}", "%20{}", "x{}", "{}0", r"\u0022{}\u0022", "_{}_"])
@pytest.mark.parametrize("word", [SECRET, MASTER_KEY_BASE64, "pa ss-word", SIGNATURE])
def test_secret_text_beside_letters_and_digits_is_replaced(around, word):
    assert word not in redact(around.format(word))


def test_md5_of_a_body_is_replaced():
    assert redact("body_md5=ec365a775a4cd0599faeb73354201b6f.") == "body_md5=[redacted]."


@pytest.mark.parametrize(
    "text", ["", "no such app", "deadbeef", "a" * 31, "g" * 64, "status 400: {}", "me@proxy"]
)
def test_text_without_a_secret_is_unchanged(text):
    assert redact(text) == text


@given(TOKENS, st.text(), st.text())
def test_redacted_text_never_holds_the_secret(secret, before, after):
    assert secret not in redactor(Config("3", "k", secret))(f"{before}{secret}{after}")


@given(st.text(st.characters(categories=["P", "S"]), min_size=1))
def test_secret_of_any_characters_is_taken_literally(secret):
    assert redactor(Config("3", "k", secret))(f" {secret} ") == " [redacted] "


def test_secret_that_begins_with_the_key_is_replaced_whole():
    redact = redactor(Config("3", "abc-def", "abc-def-ghi"))
    assert redact("abc-def-ghi, abc-def") == "[redacted], [redacted]"


def test_secret_that_contains_hex_like_a_signature_is_replaced_whole():
    secret = f"live-{SIGNATURE}-tail"
    assert redactor(Config("3", "k1", secret))(f"<{secret}>") == "<[redacted]>"


def test_app_without_proxy_and_encryption_has_fewer_secrets():
    assert redactor(Config("3", "k1", "s1"))("k1 s1 k2") == "[redacted] [redacted] k2"


@pytest.mark.parametrize("text", ["s12", "xs1", "1s1", "s1s1"])
def test_short_secret_within_a_word_is_left_alone(text):
    assert redactor(Config("3", "k1", "s1"))(text) == text


def test_proxy_without_a_user_has_no_secret():
    redact = redactor(Config("3", "k1", "s1", http_proxy="http://proxy"))
    assert redact("Og== proxy") == "Og== proxy"


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_error_of_a_reply_quotes_no_secret(status):
    api = make_api(http_proxy=PROXY)
    text = f"Invalid signature {SIGNATURE} for {KEY} with {SECRET}, {MASTER_KEY_BASE64}"
    body = f'{{"error":"{text}","code":401}}'.encode()
    with pytest.raises(APIError) as caught:
        api.decode(api.get("/x"), ApiReply(status, body))
    said = f"{caught.value} {caught.value!r}"
    assert "Invalid signature [redacted]" in said
    assert not any(word in said for word in (SIGNATURE, KEY, SECRET, MASTER_KEY_BASE64))
