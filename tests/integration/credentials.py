"""The app that all tests here publish for, and secrets that no message may hold."""

from __future__ import annotations

APP_ID = "3"
KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"
PROXY_USER = "proxy-user"
PROXY_PASSWORD = "proxy-pa55word"
