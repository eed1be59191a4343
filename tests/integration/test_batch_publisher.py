"""BatchPublisher over real sockets: batches, order, splits, ends."""

import inspect
import json
from itertools import chain

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.support.serving import serving
from txpusher import (
    BadRequestError,
    BatchPublisher,
    BlockingBatchPublisher,
    BlockingPusher,
    ClosedError,
    ConfigurationError,
    Event,
    InvalidRequestError,
    Published,
    Pusher,
    QueueFullError,
    RetryPolicy,
    ServerError,
)
from txpusher._protocol.encryption import decrypt


class Server(Resource):
    """Keeps the batches it gets, and answers each when and as it is told to."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.port = 0
        self.clients: list[Pusher] = []
        self.batches: list[list[str]] = []
        self.answer = lambda batch: (200, {})
        self.held = None

    def hold(self):
        """Answer no batch before :meth:`release`."""
        self.held = []

    def release(self):
        held, self.held = self.held, None
        for request, batch in held:
            self.reply(request, batch)

    def render_POST(self, request):
        batch = json.loads(request.content.read())["batch"]
        self.batches.append([event["name"] for event in batch])
        self.events = batch
        if self.held is None:
            self.reply(request, batch)
        else:
            self.held.append((request, batch))
            request.notifyFinish().addErrback(lambda _: None)
        return NOT_DONE_YET

    def reply(self, request, batch):
        status, value = self.answer(batch)
        request.setResponseCode(status)
        request.write(json.dumps(value).encode())
        request.finish()

    def reject(self, *names, status=400):
        """Refuse each batch that has an event called one of *names*."""
        self.answer = lambda batch: (
            (status, {}) if {event["name"] for event in batch} & set(names) else (200, {})
        )


@pytest_twisted.async_yield_fixture
async def server():
    resource = Server()
    async with serving(resource) as resource.port:
        yield resource
        for client in resource.clients:
            await client.close(timeout=0)


def client(server, **options):
    options = {"host": "127.0.0.1", "port": server.port, "use_tls": False, **options}
    pusher = Pusher("3", "app-key", "app-secret", **options)
    server.clients.append(pusher)
    return pusher


def caught(deferred):
    """Fires with the error that *deferred* fails with."""
    errors = []
    deferred.addErrback(lambda failure: errors.append(failure.value))
    return deferred.addCallback(lambda _: errors[0])


@pytest_twisted.ensureDeferred
async def test_an_idle_publisher_sends_at_once_and_the_rest_in_batches(server):
    publisher = BatchPublisher(client(server))
    events = [publisher.trigger("c", f"e{number}", number) for number in range(25)]
    assert await gatherResults(events) == [{}] * 25
    assert [len(batch) for batch in server.batches] == [1, 10, 10, 4]
    assert list(chain(*server.batches)) == [f"e{number}" for number in range(25)]


@pytest_twisted.ensureDeferred
async def test_channels_travel_over_several_requests_at_a_time(server):
    server.hold()
    publisher = BatchPublisher(client(server, max_batch_size=2, max_connections=3))
    events = [publisher.trigger(f"c{number}", "e", 1) for number in range(9)]
    while len(server.held) < 3:
        await pause()
    server.release()
    await gatherResults(events)
    assert [len(batch) for batch in server.batches][:3] == [1, 2, 2]


def pause():
    """One turn of the reactor."""
    turned = Deferred()
    reactor.callLater(0.001, turned.callback, None)
    return turned


@pytest_twisted.ensureDeferred
async def test_each_event_gets_its_part_of_the_reply(server):
    server.answer = lambda batch: (
        200,
        {"batch": [{"subscription_count": int(event["data"])} for event in batch]},
    )
    publisher = BatchPublisher(client(server))
    events = [
        publisher.trigger(f"c{number}", "e", number, info="subscription_count")
        for number in range(12)
    ]
    assert await gatherResults(events) == [{"subscription_count": n} for n in range(12)]


@pytest.mark.parametrize("status", [400, 406, 413, 422])
@pytest_twisted.ensureDeferred
async def test_only_the_event_at_fault_fails(server, status):
    server.reject("e7", status=status)
    publisher = BatchPublisher(client(server))
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(11)]
    error = await caught(events.pop(7))
    assert error.status == status
    assert error.maybe_delivered is False
    assert await gatherResults(events) == [{}] * 10


@pytest_twisted.ensureDeferred
async def test_order_is_kept_across_a_split_and_after_a_failure(server):
    server.reject("e3")
    accepted = []
    reply = server.answer

    def answer(batch):
        status, value = reply(batch)
        if status == 200:
            accepted.extend(event["name"] for event in batch)
        return status, value

    server.answer = answer
    publisher = BatchPublisher(client(server))
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(30)]
    assert isinstance(await caught(events[3]), BadRequestError)
    await publisher.flush()
    assert accepted == [f"e{number}" for number in range(30) if number != 3]


@pytest_twisted.ensureDeferred
async def test_a_server_error_is_that_of_every_event_and_may_have_been_delivered(server):
    server.answer = lambda batch: (500, {})
    publisher = BatchPublisher(client(server))
    errors = [await caught(publisher.trigger("c", "e", 1)) for _ in range(2)]
    assert all(isinstance(error, ServerError) and error.maybe_delivered for error in errors)


@pytest_twisted.ensureDeferred
async def test_a_batch_is_retried_as_one_event_would_be(server):
    answers = [(429, {}), (200, {})]
    server.answer = lambda batch: answers.pop(0)
    publisher = BatchPublisher(client(server, retry=RetryPolicy(initial_delay=0.001)))
    assert await publisher.trigger("c", "e", 1) == {}
    assert server.batches == [["e"], ["e"]]


@pytest_twisted.ensureDeferred
async def test_surplus_over_max_pending_alone_fails(server):
    publisher = BatchPublisher(client(server), max_pending=5)
    server.hold()
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(8)]
    for surplus in events[6:]:
        assert isinstance(await caught(surplus), QueueFullError)
    while not server.held:
        await pause()
    server.release()
    assert await gatherResults(events[:6]) == [{}] * 6


@pytest_twisted.ensureDeferred
async def test_events_above_max_pending_of_the_client_wait_their_turn(server):
    publisher = BatchPublisher(client(server, max_pending=0, max_connections=1))
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(20)]
    assert await gatherResults(events) == [{}] * 20


@pytest_twisted.ensureDeferred
async def test_cancelled_event_leaves_its_companions_alone(server):
    server.hold()
    publisher = BatchPublisher(client(server, max_connections=1))
    first = publisher.trigger("c", "e0", 1)
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(1, 4)]
    events[0].cancel()
    assert isinstance(await caught(events.pop(0)), CancelledError)
    while not server.held:
        await pause()
    first.cancel()
    assert isinstance(await caught(first), CancelledError)
    server.release()
    assert await gatherResults(events) == [{}, {}]
    assert server.batches == [["e0"], ["e2", "e3"]]


@pytest_twisted.ensureDeferred
async def test_flush_waits_for_earlier_events_and_not_for_later_events(server):
    server.hold()
    publisher = BatchPublisher(client(server, max_connections=1))
    publisher.trigger("c", "before", 1)
    flushed = publisher.flush()
    after = publisher.trigger("c", "after", 1)
    while not server.held:
        await pause()
    [held] = server.held
    server.held = []
    server.reply(*held)
    await flushed
    assert not after.called
    while not server.held:
        await pause()
    server.release()
    await publisher.flush()
    assert after.called
    await publisher.flush()


@pytest_twisted.ensureDeferred
async def test_flush_fires_when_the_last_event_is_cancelled(server):
    server.hold()
    publisher = BatchPublisher(client(server))
    event = publisher.trigger("c", "e", 1)
    flushed = publisher.flush()
    event.cancel()
    event.addErrback(lambda _: None)
    await flushed


@pytest_twisted.ensureDeferred
async def test_closed_publisher_sends_its_events_and_takes_no_more(server):
    pusher = client(server)
    publisher = BatchPublisher(pusher)
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(15)]
    await publisher.close()
    assert all(event.called for event in events)
    assert isinstance(await caught(publisher.trigger("c", "e", 1)), ClosedError)
    assert await pusher.post("/batch_events", {"batch": []}) == {}


@pytest_twisted.ensureDeferred
async def test_publisher_is_closed_at_the_end_of_async_with(server):
    async with BatchPublisher(client(server)) as publisher:
        assert isinstance(publisher, BatchPublisher)
        event = publisher.trigger("c", "e", 1)
    assert event.called
    error = await caught(publisher.trigger("c", "e", 1))
    assert isinstance(error, ClosedError)
    assert str(error) == "the publisher is closed"


@pytest_twisted.ensureDeferred
async def test_a_closed_client_fails_every_event_however_many(server):
    pusher = client(server)
    publisher = BatchPublisher(pusher)
    server.hold()
    events = [publisher.trigger("c", f"e{number}", 1) for number in range(20_000)]
    closed = pusher.close(timeout=0.01)
    errors = await gatherResults([caught(event) for event in events])
    await closed
    assert {type(error) for error in errors} == {ClosedError}
    assert [error.maybe_delivered for error in errors[-1:]] == [False]
    server.held = None


@pytest_twisted.ensureDeferred
async def test_bad_input_fails_through_the_deferred_before_any_io(server):
    publisher = BatchPublisher(client(server))
    assert isinstance(await caught(publisher.trigger("no spaces", "e", 1)), InvalidRequestError)
    assert isinstance(
        await caught(publisher.trigger("private-encrypted-c", "e", 1)), ConfigurationError
    )
    assert server.batches == []


@pytest_twisted.ensureDeferred
async def test_encrypted_channels_travel_encrypted(server):
    key = b"k" * 32
    pusher = client(
        server, encryption_master_key_base64="a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    )
    await BatchPublisher(pusher).trigger("private-encrypted-c", "e", {"a": "b"})
    [event] = server.events
    assert decrypt("private-encrypted-c", event["data"], key) == '{"a":"b"}'


@pytest_twisted.ensureDeferred
async def test_threads_share_a_blocking_publisher(server):
    publisher = BlockingBatchPublisher(BlockingPusher.wrap(client(server)))

    def work(thread):
        with publisher:
            futures = [publisher.submit(f"c{thread}", f"e{n}", n) for n in range(20)]
            assert publisher.trigger(f"c{thread}", "last", 1) == {}
            publisher.flush()
        return [future.result(timeout=30) for future in futures]

    assert await deferToThread(work, 0) == [{}] * 20
    closed = await deferToThread(lambda: publisher.submit("c", "e", 1).exception(timeout=30))
    assert isinstance(closed, ClosedError)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("max_pending", -1, "a whole number >= 0"),
        ("linger", -1, "a number of seconds >= 0"),
        ("linger", None, "a number of seconds >= 0"),
        ("max_batch_bytes", 0, "a whole number >= 1 or None"),
        ("max_batch_bytes", 1e4, "a whole number >= 1 or None"),
        ("max_pending", 1.5, "a whole number >= 0"),
        ("max_pending", True, "a whole number >= 0"),
        ("max_pending", "5", "a whole number >= 0"),
        ("ordered", 1, "a bool, not the int 1"),
        ("ordered", "yes", "a bool, not the str 'yes'"),
    ],
)
def test_bad_settings_are_refused(name, value, kind):
    with pytest.raises(ConfigurationError) as caught:
        BatchPublisher(Pusher("3", "k", "s"), **{name: value})
    assert str(caught.value).startswith(f"{name} must be {kind}")


@pytest.mark.parametrize("kind", [BatchPublisher, BlockingBatchPublisher])
def test_publisher_has_its_documented_defaults(kind):
    parameters = inspect.signature(kind).parameters
    assert (parameters["max_pending"].default, parameters["ordered"].default) == (100_000, True)


def test_the_two_publishers_are_not_mixed_up():
    text = "a Pusher, not the BlockingPusher .*; for threads there is BlockingBatchPublisher$"
    with pytest.raises(ConfigurationError, match=text):
        BatchPublisher(BlockingPusher("3", "k", "s"))
    with pytest.raises(ConfigurationError, match="BlockingPusher"):
        BlockingBatchPublisher(Pusher("3", "k", "s"))


@pytest_twisted.ensureDeferred
async def test_server_of_10_000_bytes_a_request_gets_batches_as_full_as_they_can_be(server):
    sizes = []
    server.answer = lambda batch: (200 if sizes[-1] <= 10_000 else 413, {})
    render = server.render_POST

    def measure(request):
        sizes.append(len(request.content.getvalue()))
        return render(request)

    server.render_POST = measure
    publisher = BatchPublisher(client(server), max_batch_bytes=10_000)
    data = ["x" * (900 + 137 * number % 1400) for number in range(300)]
    published = await publisher.publish(
        Event(f"c{number % 7}", f"e{number}", text) for number, text in enumerate(data)
    )
    assert published == Published(300, [])
    # Every event is in one batch, and the next event would not have fitted: it is at most
    # 2400 bytes.  The first batches go out before there is more, the last ones are the rest.
    assert sorted(chain(*server.batches)) == sorted(f"e{number}" for number in range(300))
    assert max(sizes) <= 10_000
    full = [
        size > 10_000 - 2400 or len(batch) == 10
        for size, batch in zip(sizes, server.batches, strict=True)
    ]
    assert full.count(False) <= 2 * 16
