"""What the replies of a server mean."""

from __future__ import annotations

import gzip
import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.credentials import KEY, SECRET
from txpusher._reply import (
    MAX_REPLY_BYTES,
    ApiReply,
    UnpackingError,
    decode_reply,
    parse_retry_after,
    redactor,
    unpack,
)
from txpusher.config import Config
from txpusher.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    HTTPError,
    NotFoundError,
    PayloadTooLargeError,
    ProxyAuthenticationError,
    PusherError,
    RateLimitedError,
    ServerError,
)

NOW = 1_700_000_000.0
JSON_TEXT = (
    st.dictionaries(
        st.sampled_from(["error", "code", "a"]), st.text() | st.integers() | st.none()
    )
    .map(json.dumps)
    .map(str.encode)
)
SIGNATURE = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
BAD_GATEWAY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n"


def decode(status, body=b"", method="POST", *, options=None, **headers):
    reply = ApiReply(status, body, now=NOW, **headers)
    config = Config("3", KEY, SECRET, **(options or {}))
    return decode_reply(method, "/apps/3/events", reply, config, redactor(config))


def failure(status, body=b"", method="POST", **headers):
    with pytest.raises(PusherError) as caught:
        decode(status, body, method, **headers)
    return caught.value


def outcome(*arguments, **headers):
    try:
        return decode(*arguments, **headers)
    except PusherError as error:
        return error


class TestSuccess:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b"", {}),
            (b" \r\n", {}),
            (b"{}", {}),
            (b'{"channels":{"a":{"x":1}}}', {"channels": {"a": {"x": 1}}}),
            (b'{"ok":true}\n', {"ok": True}),
        ],
    )
    def test_success_is_the_decoded_object_or_an_empty_object(self, status, body, value):
        assert decode(status, body) == value

    @pytest.mark.parametrize(
        "body", [b"OK", b"<html></html>", b"[]", b'"text"', b"7", b"null", b"\xff\xfe{", b"{"]
    )
    def test_success_that_is_no_object_is_an_http_error(self, body):
        error = failure(200, body)
        assert type(error) is HTTPError
        assert str(error) == (
            "POST /apps/3/events: the reply with status 200 is not a JSON object "
            f"but {len(body)} bytes of something else"
        )

    @pytest.mark.parametrize(("method", "maybe"), [("POST", True), ("GET", False)])
    @pytest.mark.parametrize("body", [b"OK", b"[]"])
    def test_unusable_success_may_have_been_delivered(self, method, maybe, body):
        assert failure(200, body, method).maybe_delivered is maybe

    def test_unusable_success_keeps_the_original_error(self):
        assert isinstance(failure(200, b"OK").original_error, ValueError)
        assert failure(200, b"[]").original_error is None

    def test_success_is_decoded_by_the_users_decoder(self):
        assert decode(200, b"x", options={"json_loads": lambda body: {"raw": body}}) == {
            "raw": b"x"
        }

    def test_exception_of_the_users_decoder_is_an_http_error(self):
        def fail(body):
            raise KeyError("x")

        with pytest.raises(HTTPError) as caught:
            decode(200, b"{}", options={"json_loads": fail})
        assert isinstance(caught.value.original_error, KeyError)


class TestErrorInsideASuccess:
    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (400, BadRequestError),
            (401, AuthenticationError),
            (404, NotFoundError),
            (500, ServerError),
            (4009, APIError),
        ],
    )
    def test_error_inside_a_success_is_the_api_error_of_its_code(self, code, kind):
        body = json.dumps({"error": "why", "code": code}).encode()
        error = failure(200, body)
        assert type(error) is kind
        assert error.status == code
        assert error.body == body.decode()

    @pytest.mark.parametrize(("code", "maybe"), [(413, False), (500, True)])
    def test_error_inside_a_success_claims_delivery_by_its_code(self, code, maybe):
        body = json.dumps({"error": "why", "code": code}).encode()
        assert failure(200, body).maybe_delivered is maybe

    @pytest.mark.parametrize(
        "value",
        [
            {"error": "why"},
            {"code": 401},
            {"error": "why", "code": 399},
            {"error": "why", "code": "401"},
            {"error": "why", "code": 401.0},
            {"error": "why", "code": True},
            {"error": {"a": 1}, "code": 401},
            {"error": None, "code": 401},
        ],
    )
    def test_needs_a_text_and_a_code(self, value):
        assert decode(200, json.dumps(value).encode()) == value


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, BadRequestError),
            (401, AuthenticationError),
            (403, ForbiddenError),
            (404, NotFoundError),
            (407, ProxyAuthenticationError),
            (413, PayloadTooLargeError),
            (418, APIError),
            (422, APIError),
            (429, RateLimitedError),
            (500, ServerError),
            (502, ServerError),
            (199, APIError),
        ],
    )
    def test_status_has_the_error_of_its_class(self, status, kind):
        error = failure(status, b"why\n")
        assert type(error) is kind
        assert (error.status, error.body, error.path) == (status, "why\n", "/apps/3/events")
        assert str(error) == f"POST /apps/3/events: status {status}: why"

    def test_empty_body_is_not_quoted(self):
        assert str(failure(404, b" \n")) == "POST /apps/3/events: status 404"

    def test_page_of_a_load_balancer_is_quoted_in_one_line(self):
        assert str(failure(502, BAD_GATEWAY)).endswith(
            "status 502: <html> <head><title>502 Bad Gateway</title></head> </html>"
        )

    def test_long_body_is_quoted_in_part_and_kept_whole(self):
        error = failure(400, b"x" * 5000)
        assert str(error).endswith(": " + "x" * 300)
        assert len(str(error)) < 400
        assert error.body == "x" * 5000

    def test_body_that_is_not_utf8_is_kept_readable(self):
        assert failure(400, b"caf\xe9").body == "caf\N{REPLACEMENT CHARACTER}"

    @pytest.mark.parametrize(
        ("status", "method", "maybe"),
        [(302, "POST", False), (429, "POST", False), (500, "POST", True), (500, "GET", False)],
    )
    def test_server_error_may_have_been_delivered(self, status, method, maybe):
        assert failure(status, b"", method).maybe_delivered is maybe

    def test_error_has_the_delay_of_retry_after(self):
        assert failure(429, retry_after="7").retry_after == 7.0
        assert failure(429).retry_after is None

    @given(
        st.integers(100, 999),
        st.binary() | JSON_TEXT,
        st.sampled_from(["GET", "POST"]),
        st.none() | st.text(),
        st.none() | st.text(),
    )
    def test_arbitrary_reply_is_an_object_or_a_pusher_error(
        self, status, body, method, date, after
    ):
        value = outcome(status, body, method, date=date, retry_after=after)
        assert isinstance(value, (dict, PusherError))

    @pytest.mark.parametrize(
        "body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"error":"","code":1e400}']
    )
    def test_hostile_json_is_no_other_exception(self, body):
        assert isinstance(outcome(200, body), (dict, PusherError))

    def test_code_of_many_digits_is_no_other_exception(self):
        assert failure(200, b'{"error":"why","code":%b}' % (b"9" * 4300)).body


class TestRedirect:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirect_is_an_error_with_the_location(self, status):
        error = failure(status, location="https://other.example/apps/3/events")
        assert type(error) is APIError
        assert (error.status, error.maybe_delivered) == (status, False)
        assert str(error) == (
            f"POST /apps/3/events: status {status}; it redirects to "
            "https://other.example/apps/3/events, and no redirect is followed"
        )

    @pytest.mark.parametrize(
        "location",
        [
            f"https://h/apps/3/events?auth_key={KEY}&auth_signature={SIGNATURE}",
            f"//me:{SECRET}@h/apps/3/events#{SIGNATURE}",
            f"/apps/3/events?\nauth_signature={SIGNATURE}",
            f"/{SIGNATURE}/{SECRET}",
        ],
    )
    def test_location_of_a_redirect_is_quoted_without_secrets(self, location):
        message = str(failure(302, location=location))
        assert "it redirects to " in message
        assert not any(word in message for word in (KEY, SECRET, SIGNATURE, "me:"))

    @pytest.mark.parametrize("location", [None, ""])
    def test_redirect_without_a_location_says_so(self, location):
        assert str(failure(304, location=location)) == (
            "POST /apps/3/events: status 304; the reply names no Location"
        )


class TestPathPrefix:
    @pytest.mark.parametrize(
        ("signs", "words"),
        [
            (False, "/ws is sent and not signed: where the server itself has the prefix, "),
            (True, "/ws is signed too: where a proxy strips it before the server sees "),
        ],
    )
    @pytest.mark.parametrize("reply", [(401, b"why"), (200, b'{"error":"why","code":401}')])
    def test_401_says_whether_the_prefix_is_signed(self, signs, words, reply):
        options = {"path_prefix": "/ws/", "sign_path_prefix": signs}
        message = str(failure(*reply, options=options))
        assert f"; path_prefix {words}" in message
        assert f"sign_path_prefix must be {not signs}" in message

    def test_hint_about_the_path_prefix_is_absent_for_other_statuses(self):
        assert "prefix" not in str(failure(403, b"why", options={"path_prefix": "/ws"}))


class TestClock:
    @pytest.mark.parametrize(
        ("server", "text"),
        [
            (NOW - 301, "301 seconds ahead of"),
            (NOW + 7200, "7200 seconds behind"),
        ],
    )
    def test_difference_that_matters_is_told_with_a_401(self, server, text):
        error = failure(401, b"why", date=formatdate(server, usegmt=True))
        assert str(error) == (
            "POST /apps/3/events: status 401: why; "
            f"the local clock is {text} the server's, which accepts 600"
        )

    def test_difference_is_told_with_a_401_inside_a_success(self):
        date = formatdate(NOW - 1000, usegmt=True)
        assert "1000 seconds ahead" in str(failure(200, b'{"error":"x","code":401}', date=date))

    @pytest.mark.parametrize("difference", [-300, -1, 0, 300])
    def test_small_difference_is_not_told(self, difference):
        date = formatdate(NOW + difference, usegmt=True)
        assert str(failure(401, b"why", date=date)).endswith("status 401: why")

    @pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 2020 99:99:99 GMT"])
    def test_unreadable_date_adds_no_hint_about_the_clock(self, date):
        assert str(failure(401, b"why", date=date)).endswith("status 401: why")

    def test_difference_is_not_told_with_other_errors(self):
        assert "clock" not in str(failure(403, b"", date=formatdate(0, usegmt=True)))


@pytest.fixture
def in_tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0.0),
            ("7", 7.0),
            (" 120 ", 120.0),
            ("9" * 5000, 999_999_999_999.0),
            (None, None),
            ("", None),
            ("-1", None),
            ("0.998", 0.998),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("soon", None),
            ("\N{ARABIC-INDIC DIGIT ONE}", None),
            ("\N{SUPERSCRIPT TWO}", None),
        ],
    )
    def test_retry_after_is_a_number_of_seconds(self, text, seconds):
        assert parse_retry_after(ApiReply(429, b"", retry_after=text, now=NOW)) == seconds

    def test_or_a_date_by_the_clock_of_the_server(self):
        date, after = (formatdate(NOW + delta, usegmt=True) for delta in (5000, 5012))
        reply = ApiReply(429, b"", date=date, retry_after=after, now=NOW)
        assert parse_retry_after(reply) == 12.0

    @pytest.mark.parametrize("date", [None, "nonsense"])
    def test_or_a_date_by_the_local_clock_where_the_server_tells_none(self, date):
        after = formatdate(NOW + 12, usegmt=True)
        reply = ApiReply(429, b"", date=date, retry_after=after, now=NOW)
        assert parse_retry_after(reply) == 12.0

    def test_date_in_the_past_is_now(self):
        reply = ApiReply(429, b"", retry_after=formatdate(NOW - 60, usegmt=True), now=NOW)
        assert parse_retry_after(reply) == 0.0

    @pytest.mark.usefixtures("in_tokyo")
    @pytest.mark.parametrize(
        "text",
        [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ],
    )
    def test_retry_after_reads_each_form_of_an_http_date_in_utc(self, text):
        reply = ApiReply(429, b"", retry_after=text, now=784_111_777.0 - 5)
        assert parse_retry_after(reply) == 5.0

    @given(st.text() | st.from_regex(r"\A\w{3}, \d+ (Jan|Feb) \d+ \d+:\d+:\d+ [-+]?\w+\Z"))
    def test_arbitrary_retry_after_is_seconds_or_none(self, text):
        seconds = parse_retry_after(ApiReply(429, b"", date=text, retry_after=text, now=NOW))
        assert seconds is None or seconds >= 0


class TestUnpacking:
    @given(st.binary(max_size=2000))
    def test_unpacked_body_is_the_packed_text(self, body):
        assert unpack(gzip.compress(body)) == body

    def test_unpacked_empty_body_is_empty(self):
        assert unpack(b"") == b""

    @pytest.mark.parametrize("limit", [1, MAX_REPLY_BYTES, MAX_REPLY_BYTES + 1])
    def test_body_over_the_limit_is_refused_with_the_setting(self, limit):
        assert len(unpack(gzip.compress(bytes(limit)), limit)) == limit
        with pytest.raises(UnpackingError) as caught:
            unpack(gzip.compress(bytes(limit + 1)), limit)
        assert str(caught.value) == (
            f"the reply is larger than {limit} bytes, the limit that max_reply_bytes sets"
        )

    @given(st.binary(min_size=1, max_size=200), st.data())
    def test_truncated_gzip_body_is_refused(self, body, data):
        packed = gzip.compress(body)
        part = packed[: data.draw(st.integers(1, len(packed) - 1))]
        with pytest.raises(UnpackingError, match="not all of the gzip"):
            unpack(part)

    @pytest.mark.parametrize("body", [b"{}", b"<html>", b"\x1f\x8bnot so"])
    def test_body_that_is_no_gzip_is_refused(self, body):
        with pytest.raises(UnpackingError, match="not the gzip"):
            unpack(body)


def test_reply_does_not_show_its_body():
    """A 401 quotes a signature."""
    assert "quoted" not in repr(ApiReply(401, b"quoted"))
