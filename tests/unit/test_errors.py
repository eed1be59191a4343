"""The exception tree."""

from __future__ import annotations

import pickle

import pytest

import txpusher
from txpusher import errors
from txpusher.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BlockingCallError,
    ConnectionClosedError,
    ForbiddenError,
    HTTPError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    ProxyAuthenticationError,
    PusherError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    SubscriptionError,
    error_class_for,
)

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_a_pusher_error_of_the_package(kind):
    assert issubclass(kind, PusherError)
    assert getattr(txpusher, kind.__name__) is kind
    assert kind.__name__ in txpusher.__all__


@pytest.mark.parametrize("kind", ALL)
def test_error_claims_no_delivery_by_default(kind):
    assert kind("why").maybe_delivered is False
    assert kind("why", maybe_delivered=True).maybe_delivered is True


@pytest.mark.parametrize("kind", ALL)
def test_error_message_is_the_given_reason(kind):
    assert str(kind("why")) == "why"


def test_refused_argument_is_a_value_error():
    assert issubclass(InvalidRequestError, ValueError)


def test_blocking_call_in_the_wrong_place_is_a_runtime_error():
    assert issubclass(BlockingCallError, RuntimeError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (407, ProxyAuthenticationError),
        (413, PayloadTooLargeError),
        (429, RateLimitedError),
        (500, ServerError),
        (502, ServerError),
        (599, ServerError),
    ],
)
def test_status_has_the_error_class_of_the_table(status, kind):
    assert error_class_for(status) is kind
    assert issubclass(kind, APIError)


@pytest.mark.parametrize("status", [0, 100, 301, 304, 402, 418, 499, 600, 4009])
def test_status_outside_the_table_is_a_plain_api_error(status):
    assert error_class_for(status) is APIError


@pytest.mark.parametrize(
    ("kind", "status"), [(NotFoundError, 404), (RateLimitedError, 429), (ServerError, 500)]
)
def test_error_without_a_status_has_the_status_of_its_class(kind, status):
    assert kind("why").status == status
    assert kind("why", status=599).status == 599


def test_api_error_has_the_reply():
    error = APIError("why", status=418, body="teapot", path="/apps/3/x", retry_after=2.5)
    assert (error.status, error.body, error.path, error.retry_after) == (
        418,
        "teapot",
        "/apps/3/x",
        2.5,
    )


def test_api_error_without_a_reply_has_empty_attributes():
    error = APIError("why")
    assert (error.status, error.body, error.path, error.retry_after) == (0, "", "", None)


def test_http_error_keeps_the_original_error():
    cause = OSError("refused")
    error = HTTPError("why", original_error=cause, transient=True)
    assert error.original_error is cause
    assert error.transient is True


def test_http_error_is_not_transient_unless_told():
    error = RequestTimeoutError("late")
    assert isinstance(error, HTTPError)
    assert error.original_error is None
    assert error.transient is False


@pytest.mark.parametrize("kind", ALL)
def test_overload_and_failed_server_alone_are_transient_errors(kind):
    assert kind("why").transient is (kind in (RateLimitedError, ServerError))


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_the_way_to_another_process(kind):
    error = pickle.loads(pickle.dumps(kind("why", maybe_delivered=True)))
    assert type(error) is kind
    assert (str(error), error.maybe_delivered) == ("why", True)


def test_repr_of_an_api_error_does_not_quote_the_body():
    assert "teapot" not in repr(APIError("why", status=418, body="teapot"))


def test_subscription_error_says_which_channel_was_refused_and_why():
    error = SubscriptionError("no", channel="private-a", status=403, reason="banned")
    assert (error.channel, error.status, error.reason) == ("private-a", 403, "banned")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.channel, copy.status, copy.reason) == ("private-a", 403, "banned")


def test_connection_closed_error_has_the_close_code():
    assert ConnectionClosedError("gone", code=4001).code == 4001
