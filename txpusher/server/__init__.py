"""
A Channels server for development and tests: no account, no other program.

It speaks the HTTP API and version 7 of the WebSocket protocol, so that any
Pusher library works with it.  It is one process that keeps everything in
memory: not for production.  Needs the extra ``txpusher[server]``.
"""

from txpusher.server._app import App, WebHookTarget
from txpusher.server._core.outputs import Activity
from txpusher.server._limits import HOSTED_LIMITS, Limits
from txpusher.server._server import ChannelsServer
from txpusher.server._service import ChannelsService

__all__ = [
    "HOSTED_LIMITS",
    "Activity",
    "App",
    "ChannelsServer",
    "ChannelsService",
    "Limits",
    "WebHookTarget",
]
