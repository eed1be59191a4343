"""
A request as plain values, and its parts: method, query, body, signature.

The functions are pure.  Which requests there are is described in :mod:`txpusher._api`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

import attrs

from txpusher._json import json_dumps
from txpusher._protocol import signing
from txpusher._protocol.names import info_text
from txpusher._text import (
    as_plain_str,
    is_really,
    is_str,
    short_repr,
    utf8,
    with_type,
    with_wrong_type,
)
from txpusher._urls import check_param_name
from txpusher.config import Config
from txpusher.errors import InvalidRequestError, PusherError

_METHOD = re.compile(r"[A-Za-z]{1,20}").fullmatch

#: Matches a value that needs no percent-escape (RFC 3986, "unreserved").
_is_unreserved = re.compile(r"[A-Za-z0-9._~-]*").fullmatch


P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen
class ApiRequest:
    """
    One request of the HTTP API, complete but for its signature.

    :ivar method: The HTTP method in capitals, ``"GET"`` or ``"POST"`` but for
        :meth:`Api.request`.
    :ivar path: The path, percent-escaped, without the path prefix.
    :ivar params: The query parameters, not escaped.
    :ivar body: The exact bytes of the body, None without one.
    :ivar idempotency_key: The value of ``X-Idempotency-Key``, the same for every attempt;
        None where the caller gave none.
    """

    method: str
    path: str
    params: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    idempotency_key: str | None = None


def build_request(build: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """
    Call *build* with the arguments of an operation, and return its value.

    :raises PusherError: *build* refuses an argument; or reading an argument, such as an
        iterable or a mapping of the caller's, raises another exception, which is then the
        error's cause.
    """
    try:
        return build(*arguments, **options)
    except PusherError:
        raise
    except Exception as error:
        raise unreadable_argument(error) from error


def unreadable_argument(error: Exception) -> InvalidRequestError:
    """Return the error of an operation for what reading one of its arguments has raised."""
    return InvalidRequestError(
        f"an argument could not be read: {type(error).__name__}: {short_repr(str(error), 200)}"
    )


def signed_query(
    config: Config,
    method: str,
    path: str,
    params: Mapping[str, str],
    body: bytes | None,
    timestamp: int,
) -> str:
    """
    Return the query of a request, percent-escaped, with the signature at its end.

    :param path: As in :class:`ApiRequest`, as are *method*, *params* and *body*.
    :param timestamp: Seconds since the epoch.
    """
    path = f"{config.signed_prefix}{path}"
    signed = signing.signed_params(
        config.key, config.secret, method, path, params, body, timestamp
    )
    return escaped_query(signed)


def escaped_query(params: Mapping[str, str]) -> str:
    """Return *params* as the query of a URL, values percent-escaped."""
    # Most values are plain: to look at all of them at once is quicker than to quote any.
    if not _is_unreserved("".join(params.values())):
        params = {name: quote(value, "") for name, value in params.items()}
    return "&".join([f"{name}={value}" for name, value in params.items()])


def check_method(method: object) -> str:
    """
    Return an HTTP method in capitals.

    :raises InvalidRequestError: The method is not 1 to 20 letters.
    """
    if not is_str(method) or not _METHOD(method):
        raise InvalidRequestError(
            f'method must be an HTTP method such as "GET", not {with_wrong_type(str, method)}'
        )
    return str(as_plain_str(method)).upper()


def json_body(fields: dict[str, Any]) -> bytes:
    """
    Encode the body of a request, which is standard JSON whatever ``json_dumps`` is.

    :raises InvalidRequestError: A value cannot be expressed as JSON.
    """
    try:
        text = json_dumps(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"the body cannot be expressed as JSON: {short_repr(str(error), 200)}"
        ) from error
    return utf8("the body", text)


def exact_body(body: object, kinds: str) -> bytes | None:
    """
    Return the bytes of a body that is sent as it is given, None for None.

    :param kinds: What a body may be, for the message.
    :raises InvalidRequestError: *body* is neither str nor bytes, or a str that UTF-8
        cannot express.
    """
    if body is None or is_really(bytes, body):
        return body  # type: ignore[return-value]
    if not is_str(body):
        raise InvalidRequestError(f"body must be {kinds}, not {with_type(body)}")
    return utf8("the body", body)


def query_params(params: Mapping[str, Any]) -> dict[str, str]:
    """
    Return *params* as the text that is signed; a param that is None is left out.

    :raises InvalidRequestError: A name is not what a query may have, or is reserved for the
        signature, or given twice; or a value is neither str nor int.
    """
    if not isinstance(params, Mapping):
        raise InvalidRequestError(f"params must be a mapping, not {with_type(params)}")
    query: dict[str, str] = {}
    for name, value in params.items():
        lower = check_param_name(name)
        if lower in signing.RESERVED_PARAMS:
            raise InvalidRequestError(f"the param {lower} is reserved for the signature")
        if lower in query:
            raise InvalidRequestError(f"the param {lower} is given twice")
        if value is not None:
            text = _param(lower, value)
            if text or lower != "info":
                query[lower] = text
    return query


def _param(name: str, value: Any) -> str:
    text = info_text(value) if name == "info" else as_plain_str(value)
    is_number = name != "info" and is_really(int, value)
    if is_number:
        # Python writes out no number of very many digits.
        with contextlib.suppress(ValueError):
            text = str(int(value))
    if not is_str(text):
        given = "an int too long to write out" if is_number else with_type(value)
        raise InvalidRequestError(f"the param {name} must be a str or an int, not {given}")
    utf8(f"the param {name}", text)
    return text
