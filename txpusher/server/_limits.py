"""
Every bound of the server, each with its unit and its reason.

The modules read a bound as ``limits.NAME`` when they apply it, so that a test may
lower the bound in one place.  What one app may set for itself is in
:class:`~txpusher.server.App`.
"""

from __future__ import annotations

import attrs

from txpusher._validators import whole_number

# The HTTP API: what a client library sends.
# Source: "HTTP API reference" in the Pusher Channels documentation.

#: Seconds by which the clock of a client and the clock of the server may differ.  The
#: documentation has 600.
CLOCK_DIFFERENCE = 600
#: Bytes of the body of one request.  A batch of ten events of 10 kB fits ten times.
REQUEST_BODY = 1024 * 1024
#: Parameters in the query of one request.  More would only cost time to read.
QUERY_PARAMETERS = 100
#: Events in one batch, by the documentation.
BATCH_EVENTS = 10
#: Bytes of the data of one event, as UTF-8, by the documentation; an app may have another.
EVENT_DATA = 10_240
#: Characters of an idempotency key.  A UUID has 36.
IDEMPOTENCY_KEY = 255
#: Seconds for which the reply to a request with an idempotency key is kept.
REPLY_LIFETIME = 120.0

# HTTP connections.

#: Seconds in which one request must come in, from its first byte to its last.
READING_REQUEST = 30.0
#: Seconds for which a connection may stay without a request.
KEEP_ALIVE = 75.0
#: Seconds that the other side has to end a connection after the last answer.
CLOSING = 5.0
#: Seconds that clients have to end their connections once the server stops.
STOP_GRACE = 1.0

# WebSocket connections: what a subscriber sends and takes.

#: Bytes of one message from a client, all its fragments together.  A client event has
#: 10 kB of data, which JSON may escape into six times as many bytes.
MESSAGE = 100_000
#: Frames of one message from a client.  To join frames costs time, however short they are.
MESSAGE_FRAMES = 4096
#: Bytes that wait for a client that does not read; with one more the connection is cut.
WAITING_TO_SEND = 1024 * 1024
#: Bytes that wait for a client before the server reads no more from it, because the answers
#: to what it sends would have to wait too.
WAITING_TO_READ_ON = 65536
#: Client events that one connection may send in any second, by the documentation
#: ("Client events"); an app may have another.
CLIENT_EVENTS_PER_SECOND = 10
#: User ids on the watchlist of a user, by the documentation ("Watchlist events").
WATCHLIST = 100
#: Channels of one connection.
CHANNELS_PER_CONNECTION = 10_000
#: Nested objects and arrays in JSON from outside.  Deeper values could not be written again.
JSON_DEPTH = 100
#: Subscribers of a channel up to which each change of their number is sent at once.  To tell
#: N subscribers of N changes takes N * N messages, so larger channels hear of it once a second.
COUNTED_AT_ONCE = 100

# The outbox.

#: Subscribers from which on the outbox gathers what they are sent: below, one write more or
#: less does not matter.
LARGE_AUDIENCE = 50
#: Bytes that the outbox gathers for one audience before it sends them.
OUTBOX = 65536

# Caches.

#: Seconds for which the last event of a cache channel is kept, by the documentation
#: ("Cache channels").
CACHED_EVENT_LIFETIME = 30 * 60.0
#: Bytes that one cache may hold, roughly.
CACHE = 32 * 1024 * 1024
#: Bytes that an entry of a cache takes besides its key and its value, roughly.
CACHE_ENTRY = 300

# The console.

#: Entries of the feed; the oldest make room for new ones.
CONSOLE_ENTRIES = 1000
#: Entries in one message of a stream.
CONSOLE_ENTRIES_TOGETHER = 200
#: Seconds for which entries gather before a stream sends them.
CONSOLE_GATHERING = 0.05
#: Seconds without a byte after which a stream says that it is alive.
CONSOLE_SILENCE = 15.0
#: Streams at a time: pages that look on.
CONSOLE_STREAMS = 50
#: Channels, and connections, in one list.  A page with more is slow, and nobody reads it.
CONSOLE_ROWS = 500
#: Members of a channel, and channels of a connection, that a list names.
CONSOLE_MEMBERS = 100
#: Requests to webhooks that are kept, to be shown and repeated.
CONSOLE_DELIVERIES = 200

# Webhooks.
# Source: "Webhooks" in the Pusher Channels documentation.

#: Seconds for which events gather before they are sent in one request, where an app has
#: batches.
WEBHOOK_GATHERING = 0.05
#: Events of one request to a webhook.
WEBHOOK_EVENTS = 100
#: Events that wait for one URL; the oldest make room for new ones.
WEBHOOKS_WAITING = 10_000
#: Requests to one URL at the same time.
WEBHOOK_REQUESTS = 50
#: Failed requests to one URL that are repeated; further ones are given up at once.
WEBHOOKS_REPEATED = 1000
#: Seconds for one request to a webhook, to the last byte of the reply.
WEBHOOK_REQUEST = 10.0
#: Seconds after which a request that keeps failing is given up, by the documentation.
WEBHOOK_GIVE_UP = 300.0
#: Seconds before the first repetition of a failed request, and the most between two.
WEBHOOK_FIRST_DELAY = 0.5
WEBHOOK_LONGEST_DELAY = 30.0

# The limits of an app.


def _limit(default: int | None = None) -> int | None:
    check = attrs.validators.optional(whole_number(1, "limits"))
    limit: int | None = attrs.field(default=default, kw_only=True, validator=check)
    return limit


@attrs.frozen
class Limits:
    """
    What the clients of one app may use up; None for any number.

    Without arguments: the limits that every app has at first.

    :param presence_members: The members of a presence channel.
    :param presence_user_id_length: The characters of a member's user_id.
    :param user_info_bytes: The bytes of a member's user_info, as compact JSON in UTF-8.
    :param channel_name_length: The characters of the name of a channel; 200 without a limit.
    :param payload_bytes: The bytes of the data of one event, as UTF-8; without a limit what
        fits into a request of 1 MiB, or into a message of 100 kB.
    :param client_events_per_second: The client events of one connection in any second.
    :param messages_per_second: The events that the app publishes over the HTTP API in one
        second, each channel counted.  One more is answered with 429.
    :param messages_per_day: The messages of the app from 00:00 to 23:59 UTC, counted as the
        hosted service counts them: calls of the HTTP API, deliveries, client events, members
        who come or go, webhooks.  Beyond, events are answered with 403.
    :raises ConfigurationError: A limit is neither None nor a whole number above 0.
    """

    presence_members: int | None = _limit()
    presence_user_id_length: int | None = _limit()
    user_info_bytes: int | None = _limit()
    channel_name_length: int | None = _limit()
    payload_bytes: int | None = _limit(EVENT_DATA)
    client_events_per_second: int | None = _limit(CLIENT_EVENTS_PER_SECOND)
    messages_per_second: int | None = _limit()
    messages_per_day: int | None = _limit()


#: The limits of the hosted service, messages a day as in its free plan.  Sources: "Presence
#: channels", "Channels", "Client events" in the documentation, and the list of plans.  The
#: hosted service names no number of messages in a second.
HOSTED_LIMITS = Limits(
    presence_members=100,
    presence_user_id_length=128,
    user_info_bytes=1024,
    channel_name_length=164,
    messages_per_day=200_000,
)
