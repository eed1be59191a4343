"""The pure subscriber under any order of calls and messages, beside a model of the server."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from txpusher._protocol.actions import (
    Abandon,
    Authorize,
    Connected,
    Ended,
    Forget,
    HangUp,
    Joined,
    Open,
    Refused,
    Send,
    Settled,
    SignedIn,
    State,
    StateChange,
    Tell,
)
from txpusher._protocol.joining import Stage
from txpusher._protocol.names import needs_auth
from txpusher._protocol.subscribing import Subscribing
from txpusher.errors import APIError, InvalidRequestError, SubscriptionError

from .subscribing_driver import frame, greeting, present, secret_of, succeeded

CHANNELS = ["room", "other", "private-room", "presence-room", "private-encrypted-room"]
#: Those of the model: with few, more happens to each.
FEW = ["room", "private-room", "presence-room"]
USER_CHANNEL = "#server-to-user-7"
ASKING = ["pusher:subscribe", "pusher:unsubscribe"]
CODES = [1000, 1006, 4100, 4200, 4300]


ANSWERS = ["good", "good", "good", "bare", "bare", "none", "error"]


#: The code and the words of an error that does not say what it refuses.
NAMELESS = {"code": 4009, "message": "nameless"}


class Server:
    """
    What a server holds of one connection: it refuses what no server accepts.

    :ivar nameless: What it has refused without a name, in order; None for the sign-in.
    :ivar refused_events: The numbers of the client events that it has refused.
    """

    def __init__(self) -> None:
        self.nameless: list[str | None] = []
        self.refused_events: set[int] = set()
        self.joined: set[str] = set()
        self.unread: list[dict[str, Any]] = []
        self.user_known = False

    def take(self, message: dict[str, Any]) -> None:
        """
        Take a message, to be read later.

        A server may deal with subscriptions one beside the other: what is sent before the
        answer to the last message about the same channel may overtake it.
        """
        name = message["data"].get("channel") if message["event"] in ASKING else None
        if name is not None:
            waiting = [m["data"].get("channel") for m in self.unread if m["event"] == ASKING[0]]
            assert name not in waiting, "sent before the answer came"
        self.unread.append(message)

    def read(self, *, accept: bool, named: bool = True) -> list[str]:
        """
        Deal with the oldest message; return the answers.

        :param named: Whether a refusal says what is refused.
        """
        message = self.unread.pop(0)
        event, data = message["event"], message["data"]
        if event == "pusher:ping":
            return [frame("pusher:pong", {})]
        if event == "pusher:signin":
            assert not self.user_known, "signed in twice on one connection"
            if not accept and not named:
                return self._refuse_without_a_name(None)
            self.user_known = True
            return [frame("pusher:signin_success", {"user_data": '{"id":"7"}'})]
        if event == "pusher:unsubscribe":
            assert data["channel"] in self.joined, "left a channel that is not joined"
            self.joined.discard(data["channel"])
            return []
        if event.startswith("client-"):
            assert message["channel"] in self.joined, "sent to a channel that is not joined"
            if accept:
                return []
            self.refused_events.add(data)
            if not named:
                return [frame("pusher:error", NAMELESS)]
            return [frame("pusher:error", {"code": 4301, "message": "no"}, message["channel"])]
        assert event == "pusher:subscribe", message
        return self._subscribe(data["channel"], accept=accept, named=named)

    def _refuse_without_a_name(self, name: str | None) -> list[str]:
        self.nameless.append(name)
        return [frame("pusher:error", NAMELESS)]

    def _subscribe(self, name: str, *, accept: bool, named: bool) -> list[str]:
        assert name not in self.joined, f"subscribed to {name} twice"
        if name == USER_CHANNEL:
            assert self.user_known
            accept = True
        if not accept and not named and needs_auth(name):
            return self._refuse_without_a_name(name)
        if not accept:
            return [frame("pusher:subscription_error", {"error": "no"}, name)]
        self.joined.add(name)
        return [present(name, {"1": None})] if name == "presence-room" else [succeeded(name)]


# The conditions of the steps.  They have names: for each lambda, Hypothesis before version
# 6.100 reads and parses this file again at every step.


def has_no_server(machine: Any) -> bool:
    return machine.server is None


def is_opening(machine: Any) -> bool:
    return bool(machine.opening)


def is_not_over(machine: Any) -> bool:
    return not machine.over


def has_server(machine: Any) -> bool:
    return machine.server is not None


def is_opening_late(machine: Any) -> bool:
    return bool(machine.number > 8 and machine.opening)


def is_late(machine: Any) -> bool:
    return machine.number > 8


def has_asked(machine: Any) -> bool:
    return bool(machine.asked)


def is_opening_or_has_server(machine: Any) -> bool:
    return bool(machine.opening or machine.server is not None)


def has_unread_messages(machine: Any) -> bool:
    return bool(machine.server is not None and machine.server.unread)


class Life(RuleBasedStateMachine):
    """Calls of the program, answers of the authorizer and the server, losses, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Subscribing()
        self.server: Server | None = None
        self.opening = False
        self.asked: dict[int, Authorize] = {}
        self.wanted: set[str] = set()
        self.state = State.INITIALIZED
        self.triggered: set[int] = set()
        self.number = 0
        self.told: list[str] = []
        self.over = False
        self.established = False

    @initialize(ready=st.booleans(), names=st.lists(st.sampled_from(FEW), unique=True))
    def begin(self, ready: bool, names: list[str]) -> None:
        for name in names:
            self.subscribe(name)
        if ready:
            self.connect()
            self.establish()

    def do(self, actions: list[Any]) -> None:
        for action in actions:
            assert not self.over or isinstance(action, (Ended, HangUp, StateChange)), action
            getattr(self, f"do_{type(action).__name__.lower()}")(action)

    def do_open(self, action: Open) -> None:
        assert not self.opening
        assert self.server is None
        self.opening = True

    def do_abandon(self, action: Abandon) -> None:
        assert self.opening
        assert not self.established
        self.opening = False

    def do_hangup(self, action: HangUp) -> None:
        self.opening = False
        self.server = None

    def do_send(self, action: Send) -> None:
        assert self.server is not None, "sent without a connection"
        self.server.take(json.loads(action.text))

    def do_authorize(self, action: Authorize) -> None:
        assert self.server is not None
        assert action.ticket not in self.asked
        self.asked[action.ticket] = action

    def do_forget(self, action: Forget) -> None:
        del self.asked[action.ticket]

    def do_tell(self, action: Tell) -> None:
        if action.message.event == "event":
            self.told.append(action.message.channel or "")

    def do_statechange(self, action: StateChange) -> None:
        assert action.old is self.state
        assert action.new is not self.state
        self.state = action.new

    def do_connected(self, action: Connected) -> None:
        assert self.machine.socket_id == action.socket_id

    def do_joined(self, action: Joined) -> None:
        assert action.channel in self.wanted

    def do_refused(self, action: Refused) -> None:
        assert action.channel in self.wanted
        self.check_nameless(action.channel, action.error)
        if action.gone:
            self.wanted.discard(action.channel)

    def check_nameless(self, name: str | None, error: Any) -> None:
        """Check that what a nameless error refuses is what the server meant."""
        if error.reason != NAMELESS["message"]:
            return
        assert self.server is not None
        while (meant := self.server.nameless.pop(0)) != name:
            # The program has left the channel in the meantime, and is not told.
            assert meant in FEW

    def do_signedin(self, action: SignedIn) -> None:
        assert action.user_data["id"] == "7"

    def do_signinrefused(self, action: Any) -> None:
        assert isinstance(action.error, SubscriptionError)
        self.check_nameless(None, action.error)

    def do_settled(self, action: Settled) -> None:
        self.triggered.remove(action.number)
        if self.server is not None:
            refused = action.number in self.server.refused_events
            assert isinstance(action.error, APIError) == refused

    def do_ended(self, action: Ended) -> None:
        assert self.machine.end is action.error
        self.over = True

    def do_note(self, action: Any) -> None:
        assert action.text

    # The program

    @precondition(has_no_server)
    @rule()
    def connect(self) -> None:
        if not self.opening:
            self.established = False
        self.do(self.machine.connect())

    @precondition(is_opening)
    @rule()
    def abandon(self) -> None:
        self.do(self.machine.abandon())

    @precondition(is_not_over)
    @rule(name=st.sampled_from(FEW))
    def subscribe(self, name: str) -> None:
        self.wanted.add(name)
        self.do(self.machine.subscribe(name))

    @rule(name=st.sampled_from(FEW))
    def unsubscribe(self, name: str) -> None:
        if not self.over:
            self.wanted.discard(name)
            self.do(self.machine.unsubscribe(name))

    @precondition(is_not_over)
    @rule(user=st.sampled_from(["7", "7", "8"]))
    def sign_in(self, user: str) -> None:
        try:
            self.do(self.machine.sign_in({"id": user}))
        except InvalidRequestError:
            assert self.machine.user.step.value not in ("none", "refused")

    @precondition(is_not_over)
    @rule()
    def withdraw_sign_in(self) -> None:
        self.do(self.machine.withdraw_sign_in())

    @precondition(has_server)
    @rule(name=st.sampled_from(FEW[1:]), cancel=st.booleans())
    def trigger(self, name: str, cancel: bool) -> None:
        self.number += 1
        self.triggered.add(self.number)
        self.do(self.machine.trigger(self.number, name, "client-e", self.number))
        if cancel and self.number in self.triggered:
            self.triggered.remove(self.number)
            self.do(self.machine.forget_trigger(self.number))

    @precondition(is_opening_late)
    @rule()
    def fail(self) -> None:
        self.lose(4001, 0.0)

    @precondition(is_late)
    @rule()
    def close(self) -> None:
        self.do(self.machine.close())

    # The authorizer

    @precondition(has_asked)
    @rule(data=st.data(), answer=st.sampled_from(ANSWERS))
    def authorize(self, data: Any, answer: str) -> None:
        self.answer(data.draw(st.sampled_from(sorted(self.asked))), answer)

    @precondition(has_asked)
    @rule()
    def authorize_all(self) -> None:
        for ticket in sorted(self.asked):
            self.answer(ticket, "good")

    def answer(self, ticket: int, answer: str) -> None:
        question = self.asked.pop(ticket)
        if answer == "error":
            self.do(self.machine.not_authorized(ticket, SubscriptionError("no")))
            return
        fields = {"auth": "key:sig", "user_data": '{"id":"7"}'}
        if answer == "good":
            fields["channel_data"] = '{"user_id":"1"}'
            fields["shared_secret"] = secret_of(question.channel or "")
        self.do(self.machine.authorized(ticket, None if answer == "none" else fields))

    # The server

    @precondition(is_opening)
    @rule()
    def establish(self) -> None:
        self.opening = False
        self.server = Server()
        self.established = True
        self.do(self.machine.receive(greeting(f"1.{self.number + 1}")))

    @precondition(is_opening_or_has_server)
    @rule(code=st.sampled_from(CODES), lasted=st.sampled_from([0.0, 60.0]))
    def lose(self, code: int, lasted: float) -> None:
        self.opening, self.server = False, None
        self.do(self.machine.lost(code, "lost", lasted))
        assert not self.asked
        assert not self.triggered

    @precondition(has_unread_messages)
    @rule(accept=st.sampled_from([True, True, True, False]), named=st.booleans())
    def read(self, accept: bool, named: bool) -> None:
        assert self.server is not None
        for text in self.server.read(accept=accept, named=named):
            self.do(self.machine.receive(text))

    @precondition(has_unread_messages)
    @rule(accepting=st.lists(st.booleans(), min_size=2, max_size=5))
    def read_all(self, accepting: list[bool]) -> None:
        while self.server is not None and self.server.unread:
            self.read(accept=accepting.pop() if accepting else True, named=False)

    @precondition(has_server)
    @rule(name=st.sampled_from(FEW))
    def publish(self, name: str) -> None:
        assert self.server is not None
        before = len(self.told)
        if name not in self.server.joined:
            return
        self.do(self.machine.receive(frame("event", "1", name)))
        channel = self.machine.channels.get(name)
        listening = channel is not None and channel.listening
        assert self.told[before:] == ([name] if listening else [])

    @precondition(has_server)
    @rule()
    def silence(self) -> None:
        self.do(self.machine.quiet())

    # What always holds

    @invariant()
    def state_is_the_one_told(self) -> None:
        assert self.machine.state is self.state
        assert self.machine.connected == (self.server is not None)

    @invariant()
    def joined_channels_are_joined_at_the_server(self) -> None:
        for name in CHANNELS:
            channel = self.machine.channels.get(name)
            if not self.over:
                assert (channel is not None) == (name in self.wanted)
            if channel is not None and channel.stage is Stage.JOINED and not self.over:
                assert self.server is not None
                assert name in self.server.joined

    def teardown(self) -> None:
        """Once all is answered, the server has each wanted channel, and no other one."""
        if self.over:
            return
        if self.server is None and not self.opening:
            self.do(self.machine.connect())
        if self.opening:
            self.establish()
        assert self.server is not None
        for _ in range(1000):
            if self.asked:
                self.answer(min(self.asked), "good")
            elif self.server.unread:
                self.read(accept=True, named=True)
            else:
                break
        refused = {
            name
            for name in self.wanted
            if self.machine.channels.get(name).stage is Stage.REFUSED  # type: ignore[union-attr]
        }
        assert self.server.joined - {USER_CHANNEL} == self.wanted - refused
        assert not self.triggered


Life.TestCase.settings = settings(max_examples=250, stateful_step_count=60, deadline=None)
TestLife = Life.TestCase


NAMES = st.sampled_from(
    [
        "pusher:connection_established",
        "pusher:error",
        "pusher:ping",
        "pusher:pong",
        "pusher:signin_success",
        "pusher:subscription_error",
        "pusher:cache_miss",
        "pusher_internal:subscription_succeeded",
        "pusher_internal:subscription_count",
        "pusher_internal:member_added",
        "pusher_internal:member_removed",
        "pusher_internal:watchlist_events",
        "event",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["code", "message", "presence", "ids", "hash", "user_id", "user_data", "events"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FRAMES = st.builds(
    lambda event, data, channel, wrap: json.dumps(
        {"event": event, "data": json.dumps(data) if wrap else data, "channel": channel}
    ),
    NAMES,
    VALUES,
    st.sampled_from([None, 7, *CHANNELS, USER_CHANNEL]),
    st.booleans(),
)


@given(st.lists(FRAMES | st.text(max_size=20), max_size=30))
def test_whatever_the_server_sends_raises_nothing(frames):
    machine = Subscribing()
    machine.connect()
    machine.receive(greeting())
    for name in CHANNELS:
        for action in machine.subscribe(name):
            if isinstance(action, Authorize):
                fields = {"auth": "a", "channel_data": '{"user_id":1}'}
                machine.authorized(action.ticket, {**fields, "shared_secret": secret_of(name)})
    machine.receive(succeeded("room"))
    for text in frames:
        for action in machine.receive(text):
            if isinstance(action, Authorize):
                machine.authorized(action.ticket, {})
    assert machine.state is State.CONNECTED
