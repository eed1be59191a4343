"""A web program: it makes its publisher when it is imported, as web programs do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from txpusher import BlockingBatchPublisher, BlockingPusher

publisher = BlockingBatchPublisher(BlockingPusher.from_env())


def application(
    environ: dict[str, Any], start_response: Callable[..., object]
) -> Iterable[bytes]:
    """Publish five events for each request, and wait for none of them."""
    number = environ["QUERY_STRING"]
    for place in range(5):
        publisher.submit("orders", "created", f"{number} {place}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
