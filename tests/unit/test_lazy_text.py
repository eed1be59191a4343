"""Text that is like a str and none is never taken apart, and refused with its type."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from txpusher import Config, Pusher
from txpusher._request import build_request
from txpusher._text import short_repr, with_type

from .helpers import body_of, make_api, misconfiguration, refusal


class LazyText:
    """Text that is made when it is needed, as gettext_lazy() and lazy_gettext() make it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return repr(self.text)

    def __iter__(self) -> Any:
        return iter(self.text)

    def __len__(self) -> int:
        return len(self.text)


class LazyLines(LazyText):
    """Lazy text whose parts are longer than a letter."""

    def __iter__(self) -> Any:
        return iter([self.text[:2], self.text[2:]])


class Proxy:
    """An object that claims to be another one, as SimpleLazyObject and LocalProxy do."""

    def __init__(self, behind: Any) -> None:
        self.__dict__["behind"] = behind

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.behind)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)

    def __str__(self) -> str:
        return str(self.behind)

    def __repr__(self) -> str:
        return repr(self.behind)

    def __iter__(self) -> Any:
        return iter(self.behind)

    def __len__(self) -> int:
        return len(self.behind)


class Unbound:
    """A proxy outside of the context that it needs."""

    def __str__(self) -> str:
        raise RuntimeError("unbound")

    __repr__ = __str__

    def __iter__(self) -> Any:
        raise TypeError("not iterable")


class Tags(list):
    """A collection that is written as its members are, without a separator of its own."""

    def __str__(self) -> str:
        return ", ".join(self)


LIKE_TEXT = [
    LazyText("orders"),
    LazyText("o"),
    LazyText(""),
    LazyText("x" * 300),
    LazyLines("orders"),
]
LIKE_STR = [*LIKE_TEXT, Proxy("orders"), Unbound()]

CALLS = {
    "channels": lambda pusher, text: pusher.api.trigger(text, "e", "x"),
    "a channel among others": lambda pusher, text: pusher.api.trigger(["a", text], "e", "x"),
    "an event's name": lambda pusher, text: pusher.api.trigger("a", text, "x"),
    "a socket id": lambda pusher, text: pusher.api.trigger("a", "e", "x", text),
    "info": lambda pusher, text: pusher.api.trigger("a", "e", "x", None, text),
    "a part of info": lambda pusher, text: pusher.api.channel_info("a", [text]),
    "an idempotency key": lambda pusher, text: pusher.api.trigger(
        "a", "e", "x", None, None, text
    ),
    "events": lambda pusher, text: pusher.api.trigger_batch(text),
    "an event's channel": lambda pusher, text: pusher.api.batch_item(text, "e", "x"),
    "a user": lambda pusher, text: pusher.api.send_to_user(text, "e", "x"),
    "a prefix": lambda pusher, text: pusher.api.channels(text),
    "a path": lambda pusher, text: pusher.api.get(text),
    "a param": lambda pusher, text: pusher.api.get("/x", {"a": text}),
    "info among params": lambda pusher, text: pusher.api.get("/x", {"info": text}),
    "a method": lambda pusher, text: pusher.sign(text, "/x"),
    "a body": lambda pusher, text: pusher.sign("POST", "/x", body=text),
    "a channel to bind to": lambda pusher, text: pusher[text],
    "a channel to sign for": lambda pusher, text: pusher.authenticate(text, "1.2"),
    "a member": lambda pusher, text: pusher.authenticate(
        "presence-a", "1.2", {"user_id": text}
    ),
    "a user to sign in": lambda pusher, text: pusher.authenticate_user("1.2", {"id": text}),
}


@pytest.fixture
def pusher() -> Pusher:
    return Pusher("3", "k", "s")


@pytest.mark.parametrize("text", LIKE_STR, ids=lambda text: type(text).__name__)
@pytest.mark.parametrize("name", CALLS)
def test_text_that_is_no_str_is_refused_with_its_type(pusher, name, text):
    message = refusal(build_request, CALLS[name], pusher, text)
    assert type(text).__name__ in message
    assert "could not be read" not in message


@pytest.mark.parametrize("text", LIKE_STR, ids=lambda text: type(text).__name__)
def test_data_that_is_no_str_is_refused_with_its_type(pusher, text):
    message = refusal(pusher.api.trigger, "a", "e", text)
    assert message.startswith("data cannot be expressed as JSON")
    assert type(text).__name__ in message


@pytest.mark.parametrize(
    "setting", ["app_id", "key", "secret", "cluster", "host", "path_prefix"]
)
@pytest.mark.parametrize("text", LIKE_STR, ids=lambda text: type(text).__name__)
def test_setting_that_is_no_str_is_refused_with_its_type(setting, text):
    app = {"app_id": "3", "key": "k", "secret": "s", setting: text}
    assert misconfiguration(Config, **app).startswith(f"{setting} must be a str, not ")


def test_operation_with_lazy_text_fails_through_its_deferred(pusher):
    failure = pusher.trigger(LazyText("orders"), "e", "x").result
    assert "channels must be a str or an iterable of str" in str(failure.value)
    failure.trap(ValueError)


@pytest.mark.parametrize(
    "channels",
    [
        ["orders", "o"],
        ("orders", "o"),
        Tags(["orders", "o"]),
        Proxy(["orders", "o"]),
        {"orders": 1, "o": 2}.keys(),
        (name for name in ["orders", "o"]),
    ],
    ids=lambda channels: type(channels).__name__,
)
def test_iterable_of_names_is_taken(channels):
    assert body_of(make_api().trigger(channels, "e", "x"))["channels"] == ["orders", "o"]


def test_collection_of_one_name_is_taken():
    assert body_of(make_api().trigger(Tags(["orders"]), "e", "x"))["channels"] == ["orders"]
    assert make_api().channel_info("a", Tags(["user_count"])).params == {"info": "user_count"}


def test_iterable_without_end_is_refused():
    names = (f"a{number}" for number in itertools.count())
    assert refusal(make_api().trigger, names, "e", "x").endswith("not more than 100")


def test_value_without_a_repr_is_named_by_its_type():
    assert short_repr(Unbound()) == "a Unbound"
    assert with_type(LazyText("a")) == "the LazyText 'a'"
