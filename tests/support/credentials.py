"""The app that the tests publish for, and secrets that no message may hold."""

from __future__ import annotations

import base64

# The key and the secret of the worked examples in Pusher's documentation.
APP_ID = "3"
KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"
SOCKET_ID = "1234.1234"

MASTER_KEY = bytes(range(32))
MASTER_KEY_BASE64 = base64.b64encode(MASTER_KEY).decode("ascii")

PROXY_USER = "proxy-user"
PROXY_PASSWORD = "proxy-pa55word"
