"""Webhooks: which are trusted, and how they are read."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timezone
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.web.http_headers import Headers
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from tests.support.credentials import KEY, SECRET
from txpusher import Pusher
from txpusher.errors import InvalidRequestError, WebHookError

from .helpers import misconfiguration, named, refusal

EVENTS = [
    {"name": "channel_occupied", "channel": "a"},
    {"name": "member_added", "user_id": "7"},
]
BODY = json.dumps({"time_ms": 1327078148132, "events": EVENTS}).encode()
OLD = ("old-key", "old-secret")
pusher = Pusher("3", KEY, SECRET)


def signature_of(body, secret=SECRET):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def hook(body=BODY, **options):
    if "signature" not in options:
        options["signature"] = signature_of(body)
    return pusher.webhook(**{"key": KEY, "body": body, **options})


def request_with(body=BODY, **headers):
    request = Request(DummyChannel(), False)
    request.content = BytesIO(body)
    sent = {
        "X-Pusher-Key": KEY,
        "X-Pusher-Signature": signature_of(body),
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    request.requestHeaders = Headers({name: [sent[name]] for name in sent if sent[name]})
    return request


def reading(hook, attribute="data"):
    with pytest.raises(WebHookError) as caught:
        getattr(hook, attribute)
    return str(caught.value)


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


class TestReading:
    def test_valid_webhook_has_events_and_a_time(self):
        received = hook()
        assert received.is_valid is True
        assert received.events == EVENTS
        assert received.time == datetime(2012, 1, 20, 16, 49, 8, 132000, tzinfo=timezone.utc)
        assert received.data == json.loads(BODY)
        assert (received.key, received.signature) == (KEY, signature_of(BODY))

    @pytest.mark.parametrize("attribute", ["data", "events", "time"])
    def test_invalid_webhook_cannot_be_read(self, attribute):
        assert reading(hook(signature="00"), attribute) == (
            "the webhook is not valid, do not trust what it says: its signature is wrong"
        )

    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "application/json; charset=utf-8", " Application/JSON ;x=y"],
    )
    def test_parameters_of_the_media_type_do_not_matter(self, content_type):
        assert hook(content_type=content_type).events == EVENTS

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/json5", "", None, "; application/json"]
    )
    def test_other_media_type_is_valid_but_cannot_be_read(self, content_type):
        received = hook(content_type=content_type)
        assert received.is_valid is True
        assert "media type must be application/json" in reading(received)

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"text", b"[" * 100_000])
    def test_body_that_is_no_json_is_valid_but_cannot_be_read(self, body):
        assert hook(body).is_valid is True
        assert reading(hook(body)) == "the webhook cannot be read: its body is not JSON"

    @pytest.mark.parametrize(
        ("body", "kind"), [(b"[]", "list"), (b"7", "int"), (b'"x"', "str")]
    )
    def test_body_that_is_no_object_cannot_be_read(self, body, kind):
        assert reading(hook(body)) == (
            f"the webhook cannot be read: its body must be a JSON object, not a {kind}"
        )

    @pytest.mark.parametrize("events", [None, {}, "x", [1], [{}, "x"]])
    def test_body_without_events_cannot_be_read(self, events):
        body = json.dumps({"time_ms": 1, "events": events}).encode()
        assert reading(hook(body), "events").endswith(": it has no list of events")

    @pytest.mark.parametrize("time_ms", [None, "1", True, [1]])
    def test_body_without_a_time_cannot_be_read(self, time_ms):
        body = json.dumps({"time_ms": time_ms, "events": []}).encode()
        assert reading(hook(body), "time").endswith(": it has no time_ms")

    @pytest.mark.parametrize("time_ms", ["NaN", "Infinity", "1e300", "9" * 400, "-1e18"])
    def test_time_outside_the_calendar_cannot_be_read(self, time_ms):
        body = b'{"events":[],"time_ms":%b}' % time_ms.encode()
        assert hook(body).is_valid is True
        assert reading(hook(body), "time").endswith(": its time_ms is not a time")

    def test_webhook_without_events_has_an_empty_list(self):
        assert hook(b'{"events":[],"time_ms":0}').events == []

    def test_body_is_read_by_the_configured_decoder(self):
        value = {"events": [], "time_ms": 1, "mine": True}
        pusher = Pusher("3", KEY, SECRET, json_loads=lambda body: value)
        received = pusher.webhook(key=KEY, signature=signature_of(b"x"), body=b"x")
        assert received.data is value


class TestValidity:
    @given(st.binary())
    def test_arbitrary_body_with_its_signature_is_valid(self, body):
        assert hook(body).is_valid is True
        assert hook(body, signature=signature_of(body + b"x")).is_valid is False

    @pytest.mark.parametrize("text", ["", BODY.decode(), '{"é":"☃"}'])
    def test_body_may_be_text(self, text):
        assert hook(text, signature=signature_of(text.encode())).is_valid is True

    def test_missing_body_is_an_empty_body(self):
        assert (
            hook(b"").is_valid is pusher.webhook(key=KEY, signature=signature_of(b"")).is_valid
        )

    def test_text_that_utf8_cannot_express_is_not_valid(self):
        assert hook("\ud800", signature="00").is_valid is False

    def test_case_of_the_signature_does_not_matter(self):
        assert hook(signature=signature_of(BODY).upper()).is_valid is True

    @pytest.mark.parametrize(
        "signature",
        [None, "", "00", "é", "\ud800", signature_of(BODY, "x"), signature_of(BODY)[:-1]],
    )
    def test_wrong_signature_is_not_valid(self, signature):
        assert hook(signature=signature).is_valid is False

    @pytest.mark.parametrize("key", [None, "", "other", KEY.upper()])
    def test_wrong_key_is_not_valid(self, key):
        assert hook(key=key).is_valid is False

    def test_extra_tokens_are_accepted(self):
        options = {"key": OLD[0], "signature": signature_of(BODY, OLD[1])}
        assert hook(**options, extra_tokens=[("x", "y"), OLD]).events == EVENTS
        assert hook(**options).is_valid is False

    def test_every_token_of_the_key_is_tried(self):
        tokens = [(KEY, "newer"), (KEY, "newest")]
        for secret in (SECRET, "newer", "newest"):
            received = hook(signature=signature_of(BODY, secret), extra_tokens=iter(tokens))
            assert received.is_valid is True

    def test_secret_of_another_key_is_refused(self):
        signature = signature_of(BODY, OLD[1])
        assert hook(signature=signature, extra_tokens=[OLD]).is_valid is False

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"key": None}, "it has no X-Pusher-Key"),
            ({"signature": None}, "it has no X-Pusher-Signature"),
            ({"key": "other"}, "its key is not the app's, nor one of extra_tokens"),
            ({"signature": "f00d" * 16}, "its signature is wrong"),
        ],
    )
    def test_refusal_is_logged_once_with_the_reason_and_nothing_secret(
        self, logged, options, reason
    ):
        received = hook(**options)
        assert [received.is_valid, received.is_valid] == [False, False]
        assert received.reason == reason
        [event] = logged
        assert event["log_level"].name == "warn"
        assert event["log_format"].format(**event) == f"refused a webhook: {reason}"
        assert not any(secret in repr(event) for secret in (SECRET, signature_of(BODY), "f00d"))

    def test_valid_webhook_is_not_logged(self, logged):
        assert hook().is_valid is True
        assert logged == []

    def test_repr_says_whether_the_webhook_is_valid_and_quotes_nothing(self):
        assert repr(hook(b"{}")) == "<WebHook valid, 2 bytes>"
        assert repr(hook(b"{}", signature="00")) == "<WebHook invalid, 2 bytes>"


class TestRequest:
    def test_headers_and_body_are_taken_from_the_request(self):
        received = pusher.webhook(request_with())
        assert received.events == EVENTS
        assert (received.key, received.signature) == (KEY, signature_of(BODY))

    def test_body_that_was_read_before_is_read_again(self):
        request = request_with()
        request.content.read()
        assert pusher.webhook(request).is_valid is True

    def test_media_type_of_the_request_counts(self):
        request = request_with(Content_Type="text/plain")
        assert "not 'text/plain'" in reading(pusher.webhook(request))

    def test_missing_media_type_is_none(self):
        assert "media type" in reading(pusher.webhook(request_with(Content_Type=None)))

    @pytest.mark.parametrize("header", ["X_Pusher_Key", "X_Pusher_Signature"])
    def test_missing_header_is_not_valid(self, header):
        assert pusher.webhook(request_with(**{header: None})).is_valid is False

    @pytest.mark.parametrize("header", ["X_Pusher_Key", "X_Pusher_Signature"])
    def test_header_that_is_no_utf8_is_not_valid(self, header):
        assert pusher.webhook(request_with(**{header: b"\xff"})).is_valid is False

    def test_media_type_that_is_no_utf8_cannot_be_read(self):
        request = request_with(Content_Type=b"\xff")
        assert "media type" in reading(pusher.webhook(request))

    def test_argument_given_by_name_wins_over_the_request(self):
        body = b'{"time_ms":1,"events":[]}'
        received = pusher.webhook(
            request_with(),
            key=OLD[0],
            signature=signature_of(body, OLD[1]),
            body=body,
            extra_tokens=[OLD],
        )
        assert received.events == []


class TestParts:
    """What a header or a body may come as."""

    def test_bytes_do_as_well(self):
        received = hook(
            key=KEY.encode(),
            signature=signature_of(BODY).encode(),
            content_type=b"application/json",
        )
        assert received.events == EVENTS
        assert (received.key, received.signature) == (KEY, signature_of(BODY))

    @pytest.mark.parametrize("body", [bytearray(BODY), memoryview(BODY), BODY.decode()])
    def test_body_may_be_any_bytes_or_text(self, body):
        assert hook(body, signature=signature_of(BODY)).events == EVENTS

    @pytest.mark.parametrize("part", ["key", "signature", "content_type", "body"])
    def test_part_of_another_type_is_refused_by_its_name(self, part):
        with pytest.raises(InvalidRequestError) as caught:
            hook(**{"signature": signature_of(BODY), part: 7})
        exactly = ", exactly as received" if part == "body" else ""
        assert str(caught.value) == (
            f"{part} of a webhook must be str or bytes{exactly}, not int"
        )

    @pytest.mark.parametrize("part", ["key", "signature"])
    def test_empty_part_of_a_webhook_is_a_missing_part(self, part):
        received = hook(**{part: ""})
        assert not received.is_valid
        # It does not fall back on that of the request either.
        assert not pusher.webhook(request_with(), **{part: ""}).is_valid

    def test_request_can_be_read_again(self):
        request = request_with()
        assert pusher.webhook(request).is_valid
        assert request.content.tell() == 0
        assert pusher.webhook(request).is_valid


HEADERS = {
    "X-Pusher-Key": KEY,
    "X-Pusher-Signature": signature_of(BODY),
    "Content-Type": "application/json; charset=utf-8",
}


class OnlyItems:
    """Headers that have items() and nothing else."""

    def items(self):
        return iter(HEADERS.items())


class TestHeaders:
    @pytest.mark.parametrize(
        "headers",
        [
            HEADERS,
            {name.lower(): value for name, value in HEADERS.items()},
            {name.upper(): value for name, value in HEADERS.items()},
            {name.encode(): value.encode() for name, value in HEADERS.items()},
            {name: ["first", value] for name, value in HEADERS.items()},
            list(HEADERS.items()),
            [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()],
            iter([[name, value] for name, value in HEADERS.items()]),
            OnlyItems(),
            Headers({name: [value] for name, value in HEADERS.items()}),
            {
                "HTTP_X_PUSHER_KEY": KEY,
                "HTTP_X_PUSHER_SIGNATURE": signature_of(BODY),
                "CONTENT_TYPE": "application/json",
                "wsgi.input": BytesIO(),
                "wsgi.version": (1, 0),
            },
            [*HEADERS.items(), ("X-Other", 7), (7, "x"), (None, None)],
        ],
        ids=range(12),
    )
    def test_headers_of_any_framework_are_read(self, headers):
        received = pusher.webhook(headers=headers, body=BODY)
        assert (received.is_valid, received.reason) == (True, None)
        assert received.events == EVENTS
        assert (received.key, received.signature) == (KEY, signature_of(BODY))

    def test_media_type_of_the_headers_counts(self):
        received = pusher.webhook(headers={**HEADERS, "Content-Type": "text/plain"}, body=BODY)
        assert received.is_valid
        assert received.reason == "its media type must be application/json, not 'text/plain'"

    def test_media_type_that_the_headers_lack_is_taken_for_json(self):
        headers = {name: HEADERS[name] for name in ("X-Pusher-Key", "X-Pusher-Signature")}
        assert pusher.webhook(headers=headers, body=BODY).events == EVENTS

    def test_part_that_is_given_wins_over_the_headers(self):
        received = pusher.webhook(headers=HEADERS, key="other", body=BODY)
        assert (received.key, received.signature) == ("other", signature_of(BODY))

    def test_headers_win_over_the_request(self):
        request = request_with(X_Pusher_Key="other")
        assert pusher.webhook(request, headers=HEADERS).is_valid
        assert not pusher.webhook(request).is_valid

    @pytest.mark.parametrize("missing", ["X-Pusher-Key", "X-Pusher-Signature"])
    def test_missing_header_is_the_reason(self, missing):
        headers = {name: value for name, value in HEADERS.items() if name != missing}
        received = pusher.webhook(headers=headers, body=BODY)
        assert (received.is_valid, received.reason) == (False, f"it has no {missing}")

    @pytest.mark.parametrize(
        "headers", [7, "X-Pusher-Key", b"x", [7], [("a",)], True, ["ab", "c"]]
    )
    def test_headers_of_no_known_shape_are_refused_and_not_quoted(self, headers):
        assert refusal(pusher.webhook, headers=headers, body=BODY) == (
            "headers of a webhook must be a mapping or pairs of name and value, "
            f"not {type(headers).__name__}"
        )

    def test_value_that_is_no_text_is_refused(self):
        message = refusal(pusher.webhook, headers={"x-pusher-key": 7}, body=BODY)
        assert message == "key of a webhook must be str or bytes, not int"


class ForeignRequest:
    """A request of another framework, known by the members that it has."""

    def __init__(self, *members, headers=()):
        for name in members:
            setattr(self, name, None)
        self.headers = dict(headers)


class UnboundRequest:
    """A proxy outside of a request, as that of Flask."""

    def __getattribute__(self, name):
        raise RuntimeError("working outside of request context")


class ReadRequest(ForeignRequest):
    """A request whose body can be had no more, as Django's once it was read as a file."""

    @property
    def body(self):
        raise OSError("the body has been read from the stream already")


class TestForeignRequest:
    @pytest.mark.parametrize(
        ("request_", "advice"),
        [
            (ForeignRequest("get_data", "content_length"), "body=request.get_data()"),
            (
                ForeignRequest("rfile"),
                'body=self.rfile.read(int(self.headers["Content-Length"]))',
            ),
            (ForeignRequest("receive", "body"), "body=await request.body()"),
            (ForeignRequest("content_length", "body"), "body=await request.read()"),
            (ForeignRequest("body"), "headers=request.headers and body=request.body"),
            ({"wsgi.input": BytesIO(), "REQUEST_METHOD": "POST"}, "headers=environ and body="),
            ({"type": "http", "headers": []}, 'headers=scope["headers"] and body='),
            (dict(HEADERS), "pass it as headers=..., and body=..."),
            (ForeignRequest(), "pass headers=... and body=..."),
            (BODY, "pass headers=... and body=..."),
            (7, "pass headers=... and body=..."),
        ],
        ids=range(11),
    )
    def test_request_of_another_framework_is_refused_with_what_to_pass(self, request_, advice):
        message = refusal(pusher.webhook, request_)
        assert message.startswith(
            f"request must be a request of twisted.web, not {type(request_).__name__}; pass "
        )
        assert advice in message

    def test_unbound_proxy_is_refused_in_words(self):
        message = refusal(pusher.webhook, UnboundRequest())
        assert message.endswith("pass headers=... and body=..., the exact bytes received")

    def test_request_whose_body_has_been_read_is_refused_in_words(self):
        message = refusal(pusher.webhook, ReadRequest())
        assert message.startswith("request must be a request of twisted.web, not ReadRequest")
        assert message.endswith("pass headers=... and body=..., the exact bytes received")

    def test_body_that_a_framework_has_decoded_is_refused(self):
        assert refusal(pusher.webhook, headers=HEADERS, body=json.loads(BODY)) == (
            "body of a webhook must be str or bytes, exactly as received, not dict"
        )


class TestReason:
    def test_webhook_that_is_valid_and_readable_has_none(self, logged):
        assert hook().reason is None
        assert logged == []

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"{", "its body is not JSON"),
            (b"[]", "its body must be a JSON object, not a list"),
            (b'{"time_ms":1}', "it has no list of events"),
            (b'{"events":[]}', "it has no time_ms"),
        ],
    )
    def test_valid_webhook_that_cannot_be_read_says_why(self, body, reason):
        received = hook(body)
        assert (received.is_valid, received.reason) == (True, reason)
        assert reading(received) == f"the webhook cannot be read: {reason}"

    def test_reason_names_nothing_secret(self):
        received = hook(signature="f00d" * 16, extra_tokens=[OLD])
        assert not any(word in received.reason for word in (SECRET, "f00d", *OLD))


class TestMaxAge:
    SENT = 1327078148.132

    def aged(self, seconds, **options):
        aware = Pusher("3", KEY, SECRET, clock=lambda: self.SENT + seconds)
        return aware.webhook(headers=HEADERS, body=options.pop("body", BODY), **options)

    @pytest.mark.parametrize("seconds", [0, 299.9, -299.9])
    def test_webhook_within_the_age_is_valid(self, seconds):
        assert self.aged(seconds, max_age=300).is_valid

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(301.2, "301 seconds old"), (-3600, "3600 seconds ahead of the clock")],
    )
    def test_webhook_outside_the_age_is_not_valid(self, logged, seconds, words):
        received = self.aged(seconds, max_age=300)
        assert not received.is_valid
        assert received.reason == f"it is {words}, and max_age is 300"
        assert received.reason in reading(received)
        assert len(logged) == 1

    def test_age_without_a_limit_does_not_matter(self):
        assert self.aged(10**8).is_valid

    def test_age_is_that_of_the_moment_when_the_webhook_was_taken(self):
        now = self.SENT
        late = Pusher("3", KEY, SECRET, clock=lambda: now)
        received = late.webhook(headers=HEADERS, body=BODY, max_age=5)
        now += 3600
        assert received.is_valid

    def test_signature_counts_before_the_age(self):
        received = self.aged(0, max_age=300, signature="00")
        assert received.reason == "its signature is wrong"

    def test_webhook_whose_age_cannot_be_told_is_not_valid(self):
        received = hook(b'{"events":[]}', max_age=300)
        assert not received.is_valid
        assert received.reason == "its age cannot be told: it has no time_ms"

    def test_media_type_does_not_hide_the_age(self):
        received = self.aged(0, max_age=1, content_type="text/plain")
        assert received.is_valid

    @pytest.mark.parametrize("max_age", [-1, "300", True, float("nan"), 1j])
    def test_age_that_is_no_number_of_seconds_is_refused(self, max_age):
        assert refusal(pusher.webhook, body=BODY, max_age=max_age) == (
            "max_age must be a number of seconds >= 0 or None, "
            f"not {named(max_age, int, float)}"
        )

    def test_clock_that_raises_is_a_misconfiguration(self):
        broken = Pusher("3", KEY, SECRET, clock=lambda: 1 / 0)
        message = misconfiguration(broken.webhook, headers=HEADERS, body=BODY, max_age=1)
        assert message == "clock cannot be used: ZeroDivisionError: division by zero"
        assert broken.webhook(headers=HEADERS, body=BODY).is_valid


class TestExtraTokens:
    @pytest.mark.parametrize("tokens", [[OLD], (list(OLD),), iter([OLD])])
    def test_pair_is_accepted(self, tokens):
        received = hook(key=OLD[0], signature=signature_of(BODY, OLD[1]), extra_tokens=tokens)
        assert received.is_valid

    @pytest.mark.parametrize(
        "tokens",
        [
            None,
            7,
            "ks",
            OLD,
            [("k",)],
            [("k", "s", "t")],
            [{"key": "k", "secret": "s3cr3t"}],
            {"k": "s3cr3t"},
            [("k", b"s3cr3t")],
            [("k", None)],
            [("k", "")],
            [("", "s3cr3t")],
            [("k", "s3cr3t\udcff")],
            [OLD, ("", "")],
        ],
    )
    def test_extra_token_that_is_no_pair_of_texts_is_refused_and_not_quoted(self, tokens):
        with pytest.raises(InvalidRequestError) as caught:
            hook(extra_tokens=tokens)
        assert str(caught.value).startswith("extra_tokens must be pairs of a key and a secret")
        assert "s3cr3t" not in str(caught.value)
