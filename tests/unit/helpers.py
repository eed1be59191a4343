"""Values and small functions that several test modules use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support.credentials import KEY, MASTER_KEY_BASE64, SECRET
from txpusher._api import Api
from txpusher._request import ApiRequest
from txpusher.config import Config
from txpusher.errors import ConfigurationError, InvalidRequestError

#: Each is refused wherever a socket id is taken.
BAD_SOCKET_IDS = [
    "",
    "abc",
    "12",
    "1.",
    ".2",
    "1.2.3",
    "1.2\n",
    "\n1.2",
    " 1.2",
    "-1.2",
    "1.2:private-x",
    "\N{ARABIC-INDIC DIGIT ONE}.\N{ARABIC-INDIC DIGIT TWO}",
    "1.\N{SUPERSCRIPT TWO}",
    1.2,
    b"1.2",
]

#: Each is refused wherever a channel is named.
BAD_CHANNEL_NAMES = [
    "",
    "x" * 201,
    "a b",
    "a/b",
    "a\n",
    "\na",
    "a:b",
    "a%20b",
    "é",
    "\ud800",
    "#a",
    b"a",
    None,
    7,
]


def make_api(**options: Any) -> Api:
    """The endpoints of app 3."""
    options.setdefault("encryption_master_key_base64", MASTER_KEY_BASE64)
    return Api(Config("3", KEY, SECRET, **options))


def named(value: object, *kinds: type) -> str:
    """Name a refused value as a message does: with its type unless it is one of *kinds*."""
    if value is None or type(value) in kinds:
        return repr(value)
    return f"the {type(value).__name__} {value!r}"


def body_of(request: ApiRequest) -> dict[str, Any]:
    """The JSON object that a request holds."""
    assert request.body is not None
    value = json.loads(request.body)
    assert isinstance(value, dict)
    return value


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """The message of the InvalidRequestError that a call raises."""
    with pytest.raises(InvalidRequestError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def misconfiguration(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """The message of the ConfigurationError that a call raises."""
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def outcome_of(deferred: Deferred[Any]) -> Any:
    """What a Deferred has fired with, its exception where it failed."""
    outcomes: list[Any] = []
    deferred.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))
    assert outcomes, "the Deferred has not fired"
    return outcomes[0]


def result_of(deferred: Deferred[Any]) -> Any:
    """What a Deferred has succeeded with."""
    outcome = outcome_of(deferred)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def error_of(deferred: Deferred[Any]) -> BaseException:
    """The exception that a Deferred has failed with."""
    outcome = outcome_of(deferred)
    assert isinstance(outcome, BaseException), f"succeeded with {outcome!r}"
    return outcome
