"""
Every bound of the server, each with its unit and its reason.

The modules read a bound as ``limits.NAME`` when they apply it, so that a test may
lower the bound in one place.  What one app may set for itself is in
:class:`~txpusher.server.App`.
"""

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
#: Bytes of the data of one event, as UTF-8, by the documentation.
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
#: ("Client events").
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
