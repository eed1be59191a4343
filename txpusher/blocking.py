"""
The operations of a client as blocking calls, for threads.

:class:`BlockingPusher` waits for each operation, :class:`BlockingChannel` does so for one
channel, and :class:`BlockingBatchPublisher` publishes many events in few requests.
"""

from __future__ import annotations

from txpusher._blocking_publisher import BlockingBatchPublisher
from txpusher._blocking_pusher import BlockingChannel, BlockingPusher

__all__ = ["BlockingBatchPublisher", "BlockingChannel", "BlockingPusher"]
