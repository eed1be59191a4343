"""What befalls a request on a server that is asked to do wrong, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from txpusher.errors import ConfigurationError
from txpusher.server import App, ChannelsServer
from txpusher.server._core.trouble import NO_MISHAP, Mishap, Trouble, mishap_of

PATH = "/apps/3/events"


def rolls(*numbers: float) -> Callable[[], float]:
    """A chance that comes out as told."""
    left = iter(numbers)
    return lambda: next(left)


def test_request_meets_no_mishap_where_nothing_was_asked_for() -> None:
    assert mishap_of(Trouble(), PATH, lambda: 0.0) == NO_MISHAP
    assert NO_MISHAP.in_words() == ""


@pytest.mark.parametrize("path", ["/up", "/", "/app/key", "/other"])
def test_path_outside_the_api_meets_no_mishap(path: str) -> None:
    trouble = Trouble(delay=1.0, error_rate=1.0, drop_reply_rate=1.0)
    assert mishap_of(trouble, path, lambda: 0.0) == NO_MISHAP


@pytest.mark.parametrize(
    ("rolled", "mishap"),
    [
        ((0.09,), Mishap(status=503)),
        ((0.1, 0.49), Mishap(is_reply_dropped=True)),
        ((0.1, 0.5), NO_MISHAP),
    ],
)
def test_rate_is_the_share_of_requests_that_meet_a_mishap(
    rolled: tuple[float, ...], mishap: Mishap
) -> None:
    trouble = Trouble(error_rate=0.1, error_status=503, drop_reply_rate=0.5)
    assert mishap_of(trouble, PATH, rolls(*rolled)) == mishap


def test_delay_comes_before_each_kind_of_reply() -> None:
    trouble = Trouble(delay=2.0, error_rate=0.5, drop_reply_rate=0.5)
    assert mishap_of(trouble, PATH, rolls(0.0)) == Mishap(status=500, delay=2.0)
    dropped = mishap_of(trouble, PATH, rolls(0.9, 0.0))
    assert dropped == Mishap(is_reply_dropped=True, delay=2.0)
    assert dropped.in_words() == "acted on, and never answered, after 2 seconds"
    assert mishap_of(trouble, PATH, rolls(0.9, 0.9)) == Mishap(delay=2.0)


def test_rate_of_1_hits_every_request() -> None:
    # The largest number that random.random() returns.
    most = 1 - 2**-53
    assert mishap_of(Trouble(error_rate=1), PATH, lambda: most).status == 500
    assert mishap_of(Trouble(drop_reply_rate=1.0), PATH, lambda: most).is_reply_dropped


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delay", -1),
        ("delay", "1"),
        ("error_rate", 1.1),
        ("error_rate", -0.1),
        ("error_rate", True),
        ("error_rate", float("nan")),
        ("error_status", 200),
        ("error_status", 600),
        ("error_status", "500"),
        ("drop_reply_rate", None),
        ("refuse_auth", 1),
    ],
)
def test_value_that_makes_no_sense_is_refused_and_changes_nothing(
    name: str, value: Any
) -> None:
    trouble = ChannelsServer([App("3", "k", "s")]).trouble
    before = getattr(trouble, name)
    with pytest.raises(ConfigurationError, match=name):
        setattr(trouble, name, value)
    assert getattr(trouble, name) == before


def test_attribute_that_there_is_not_is_refused() -> None:
    trouble: Any = Trouble()
    with pytest.raises(AttributeError):
        trouble.error_rat = 1.0


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2999, 5000, "4200", True])
def test_code_that_no_close_frame_may_hold_is_refused(code: Any) -> None:
    with pytest.raises(ConfigurationError, match="close code"):
        Trouble().close_all(code)


def test_server_that_does_not_listen_has_nobody_to_close() -> None:
    assert ChannelsServer([App("3", "k", "s")]).trouble.close_all(4200) == 0
