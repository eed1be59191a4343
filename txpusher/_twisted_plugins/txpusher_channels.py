"""
The plug-in by which ``twist`` and ``twistd`` find the server: ``twist channels``.

Twisted looks for plug-ins in ``twisted/plugins`` alone: setup.cfg has this file installed
there, beside the package.
"""

from twisted.application.service import ServiceMaker

channels = ServiceMaker(
    "txpusher channels",
    "txpusher.server._plugin",
    "A Pusher Channels server, for development.",
    "channels",
)
