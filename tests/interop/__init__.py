"""
txpusher against programs that are none of ours: soketi, pusher-js, laravel-echo,
and the official server SDKs for Python, Node.js and Ruby.

Node.js and its packages are needed; without them these tests are skipped, or
fail where ``TXPUSHER_REQUIRE_INTEROP=1`` says that they have to run.  The Ruby gem alone is
never required: it is in no index that the tests' tools come from.
"""
