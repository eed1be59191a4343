"""
The checks of settings, one for each kind of value, for every class that has settings.

Each check raises a :class:`~txpusher.ConfigurationError` that names the setting, the
limit and the value.  The functions called ``check_...`` take a name and a value; the
others make a validator for ``attrs.field(validator=...)`` of the same check.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import attrs

from txpusher._text import as_plain_str, is_really, is_str, with_type, with_wrong_type
from txpusher._urls import is_raw_path, redacted_repr
from txpusher.errors import ConfigurationError, InvalidRequestError

#: The longest time that a setting may ask for, in seconds.  More cannot be meant.
MAX_SECONDS = 1e9

Validator = Callable[[object, "attrs.Attribute[Any]", Any], None]


def is_number(value: object) -> bool:
    """Tell whether *value* is an int or a float; a bool is neither here."""
    return is_really((int, float), value)


def plain_str(value: str) -> str:
    """Convert an instance of a subclass of str to a str; return any other value as it is."""
    # attrs' own types know no generic converter, which _text.as_plain_str would be.
    return as_plain_str(value)


def check_whole_number(name: str, value: object, minimum: int) -> None:
    """Refuse a *value* that is not an int, or is below *minimum*."""
    if not is_really(int, value) or cast(int, value) < minimum:
        raise ConfigurationError(
            f"{name} must be a whole number >= {minimum}, not {with_wrong_type(int, value)}"
        )


def check_optional_whole_number(name: str, value: object, minimum: int) -> None:
    """Refuse a *value* that is neither None nor an int of at least *minimum*."""
    if value is None:
        return
    if not is_really(int, value) or cast(int, value) < minimum:
        raise ConfigurationError(
            f"{name} must be a whole number >= {minimum} or None, "
            f"not {with_wrong_type(int, value)}"
        )


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """
    Refuse a *value* that is not a number of seconds.

    :param zero: Whether 0 is accepted.
    """
    low_enough = is_number(value) and cast(float, value) <= MAX_SECONDS
    if not low_enough or not (cast(float, value) > 0 or (zero and value == 0)):
        limit = ">= 0" if zero else "greater than 0"
        raise ConfigurationError(
            f"{name} must be a number of seconds {limit}, "
            f"not {with_wrong_type((int, float), value)}"
        )


def check_timeout(name: str, value: object, *, optional: bool = True) -> None:
    """
    Refuse a *value* that is not a number of seconds of at least 0.

    :param optional: Whether None is accepted, which waits as long as it takes.
    :raises InvalidRequestError: *value* is an argument of a call, and no setting.
    """
    if (value is None and optional) or (is_number(value) and cast(float, value) >= 0):
        return
    raise InvalidRequestError(
        f"{name} must be a number of seconds >= 0{' or None' if optional else ''}, "
        f"not {with_wrong_type((int, float), value)}"
    )


def check_bool(name: str, value: object) -> None:
    """Refuse a *value* that is not True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be a bool, not {with_type(value)}")


def check_callable(name: str, value: object) -> None:
    """Refuse a *value* that cannot be called."""
    if not callable(value):
        raise ConfigurationError(f"{name} must be callable, not {with_type(value)}")


def check_identifier(name: str, value: object) -> None:
    """Refuse a *value* that is not a non-empty str without spaces; the value is not quoted."""
    if not is_str(value):
        raise ConfigurationError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(f"{name} is missing: it is empty")
    if any(ch.isspace() or not ch.isprintable() for ch in value):
        raise ConfigurationError(f"{name} must not contain spaces or control characters")


def check_cluster(name: str, value: object) -> None:
    """Refuse a *value* that cannot be a part of the host names of Pusher's clusters."""
    if not is_str(value):
        raise ConfigurationError(f"{name} must be a str, not {with_type(value)}")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,50}", value):
        raise ConfigurationError(
            f"{name} must be letters, digits and hyphens, not {redacted_repr(value)}"
        )


def port_or_zero(value: int | None) -> int:
    """
    Return the setting ``port``, 0 for None: the default depends on other settings.

    :raises ConfigurationError: It is not an int from 1 to 65535.
    """
    if value is None:
        return 0
    if not is_really(int, value) or not 0 < value < 65536:
        raise ConfigurationError(
            f"port must be an int from 1 to 65535, not {with_wrong_type(int, value)}"
        )
    return value


def check_port_to_listen_on(value: object) -> None:
    """Refuse a *value* that is no int from 0, for any free port, to 65535."""
    if not is_really(int, value) or not 0 <= cast(int, value) < 65536:
        raise ConfigurationError(
            f"port must be an int from 0 to 65535, not {with_wrong_type(int, value)}"
        )


def clean_path_prefix(value: object) -> str:
    """
    Return the setting ``path_prefix`` with one slash before it and none behind it.

    :raises ConfigurationError: It is not the path of a URL.
    """
    if not is_str(value):
        raise ConfigurationError(f"path_prefix must be a str, not {type(value).__name__}")
    path = f"/{value.strip('/')}"
    if path == "/":
        return ""
    if "//" in path or not is_raw_path(path):
        raise ConfigurationError(
            f"path_prefix must be a plain URL path, not {redacted_repr(value)}"
        )
    return path


def _named(check: Callable[[str, Any], None], owner: str) -> Validator:
    prefix = f"{owner}." if owner else ""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        check(f"{prefix}{attribute.name}", value)

    return validate


def whole_number(minimum: int, owner: str = "") -> Validator:
    """Make a validator of :func:`check_whole_number`; *owner* stands before the name."""
    return _named(lambda name, value: check_whole_number(name, value, minimum), owner)


def seconds(*, zero: bool = False, owner: str = "") -> Validator:
    """Make a validator of :func:`check_seconds`; *owner* stands before the name."""
    return _named(lambda name, value: check_seconds(name, value, zero=zero), owner)


def boolean(owner: str = "") -> Validator:
    """Make a validator of :func:`check_bool`; *owner* stands before the name."""
    return _named(check_bool, owner)


def instance_of(kind: type, what: str) -> Validator:
    """Make a validator that refuses what is not an instance of *kind*, called *what*."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            raise ConfigurationError(f"{name} must be {what}, not {with_type(value)}")

    return _named(check, "")


def function() -> Validator:
    """Make a validator of :func:`check_callable`."""
    return _named(check_callable, "")


def identifier() -> Validator:
    """Make a validator of :func:`check_identifier`."""
    return _named(check_identifier, "")


def cluster_name() -> Validator:
    """Make a validator of :func:`check_cluster`."""
    return _named(check_cluster, "")
