"""Serving resources of twisted.web for a test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Site


@contextlib.asynccontextmanager
async def serving(resource: Resource) -> AsyncIterator[int]:
    """Serve a resource on a port of 127.0.0.1, which is the value, until the end."""
    from twisted.internet import reactor as installed

    # For a type checker without a plugin, a Site is no factory of protocols.
    reactor: Any = installed
    listening = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")
    try:
        yield listening.getHost().port
    finally:
        await listening.stopListening()
