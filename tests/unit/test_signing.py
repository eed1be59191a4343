"""
The HMACs, against the worked examples of Pusher's documentation.

Each test takes the module that it checks, so that test_signing_mutations can
hand it broken ones.
"""

from __future__ import annotations

import hashlib
import hmac

from tests.support.credentials import KEY, SECRET, SOCKET_ID
from txpusher._protocol import signing

BODY = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
BODY_MD5 = "ec365a775a4cd0599faeb73354201b6f"
TIMESTAMP = 1353088179


def hmac_of(text: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode("utf-8"), text.encode("utf-8"), hashlib.sha256).hexdigest()


def test_documented_request_has_the_documented_parameters():
    signed = signing.signed_params(KEY, SECRET, "POST", "/apps/3/events", {}, BODY, TIMESTAMP)
    assert list(signed.items()) == [
        ("auth_key", KEY),
        ("auth_timestamp", "1353088179"),
        ("auth_version", "1.0"),
        ("body_md5", BODY_MD5),
        (
            "auth_signature",
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
        ),
    ]


def test_request_without_a_body_has_no_body_md5():
    signed = signing.signed_params(KEY, SECRET, "GET", "/apps/3/channels", {}, None, TIMESTAMP)
    query = f"auth_key={KEY}&auth_timestamp=1353088179&auth_version=1.0"
    assert signed["auth_signature"] == hmac_of(f"GET\n/apps/3/channels\n{query}")
    assert "body_md5" not in signed


def test_empty_body_is_a_body():
    signed = signing.signed_params(KEY, SECRET, "POST", "/p", {}, b"", TIMESTAMP)
    assert signed["body_md5"] == "d41d8cd98f00b204e9800998ecf8427e"


def test_names_of_parameters_are_signed_and_sent_in_lower_case():
    signed = signing.signed_params("k", "s", "GET", "/p", {"Zeta": "A", "Al": "z"}, None, 1)
    query = "al=z&auth_key=k&auth_timestamp=1&auth_version=1.0&zeta=A"
    assert list(signed)[:2] == ["zeta", "al"]
    assert signed["auth_signature"] == hmac_of(f"GET\n/p\n{query}", "s")


def test_request_is_signed_over_sorted_lower_case_names():
    params = {"b": "2", "C": "3", "A": "1"}
    assert signing.request_signature("s", "POST", "/p", params) == hmac_of(
        "POST\n/p\na=1&b=2&c=3", "s"
    )


def test_values_and_path_are_signed_unescaped():
    signature = signing.request_signature("sécret", "GET", "/a%20b", {"info": "É,&= %"})
    assert signature == hmac_of("GET\n/a%20b\ninfo=É,&= %", "sécret")


def test_given_parameters_are_left_alone():
    params = {"Info": "x"}
    signing.signed_params(KEY, SECRET, "GET", "/p", params, b"{}", 1)
    assert params == {"Info": "x"}


def test_names_that_belong_to_the_signature_are_reserved_for_good():
    assert isinstance(signing.RESERVED_PARAMS, frozenset)
    assert sorted(signing.RESERVED_PARAMS) == [
        "auth_key",
        "auth_signature",
        "auth_timestamp",
        "auth_version",
        "body_md5",
    ]


def test_documented_private_channel_has_the_documented_signature():
    assert signing.channel_signature(SECRET, SOCKET_ID, "private-foobar") == (
        "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
    )


def test_documented_presence_channel_has_the_documented_signature():
    data = '{"user_id":10,"user_info":{"name":"Mr. Pusher"}}'
    assert signing.channel_signature(SECRET, SOCKET_ID, "presence-foobar", data) == (
        "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"
    )


def test_channel_data_is_signed_even_when_empty():
    assert signing.channel_signature("s", "1.2", "private-a", "") == hmac_of(
        "1.2:private-a:", "s"
    )


def test_channel_data_is_signed_as_utf8():
    signature = signing.channel_signature("s", "1.2", "presence-a", '{"user_id":"Zoë"}')
    assert signature == hmac_of('1.2:presence-a:{"user_id":"Zoë"}', "s")


def test_user_is_signed_after_a_separator_that_no_channel_has():
    assert signing.user_signature("s", "1.2", '{"id":"Zoë"}') == hmac_of(
        '1.2::user::{"id":"Zoë"}', "s"
    )


def test_hmac_is_lower_case_hex_of_the_exact_bytes():
    # RFC 4231, test case 2.
    assert signing.hmac_hex("Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert signing.hmac_hex("s", b"\xff\x00") == (
        hmac.new(b"s", b"\xff\x00", hashlib.sha256).hexdigest()
    )


def test_secret_is_utf8():
    assert signing.hmac_hex("sécret", b"x") == hmac_of("x", "sécret")


def test_md5_is_hex_of_the_exact_bytes():
    assert signing.body_md5(BODY) == BODY_MD5
    assert signing.body_md5(b"\xff") == "00594fd4f42ba43fc1ca0427a0576295"


def test_md5_works_where_only_secure_hashes_are_allowed(monkeypatch):
    md5 = hashlib.md5

    def md5_in_fips_mode(data: bytes, *, usedforsecurity: bool = True) -> object:
        if usedforsecurity:
            raise ValueError("disabled for FIPS")
        return md5(data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", md5_in_fips_mode)
    assert signing.body_md5(BODY) == BODY_MD5


def test_equal_signatures_are_the_same_in_either_case():
    assert signing.same_signature("00af", "00af") is True
    assert signing.same_signature("00AF", "00af") is True
    assert signing.same_signature("00af", "00AF") is True


def test_different_signatures_are_not_the_same():
    for other in ["00ae", "00a", "00aff", "", "\ud800", "00aé"]:
        assert signing.same_signature("00af", other) is False
        assert signing.same_signature(other, "00af") is False


def test_signatures_are_compared_in_constant_time():
    assert "compare_digest" in signing.same_signature.__code__.co_names
