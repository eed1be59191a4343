"""What the name of a channel implies."""

from __future__ import annotations

import pytest

from txpusher._protocol import names


@pytest.mark.parametrize(
    ("channel", "presence", "auth", "cache", "user", "client_events"),
    [
        ("news", False, False, False, False, False),
        ("private-news", False, True, False, False, True),
        ("presence-room", True, True, False, False, True),
        ("private-encrypted-news", False, True, False, False, False),
        ("cache-news", False, False, True, False, False),
        ("private-cache-news", False, True, True, False, True),
        ("private-encrypted-cache-news", False, True, True, False, False),
        ("presence-cache-room", True, True, True, False, True),
        ("#server-to-user-7", False, False, False, True, False),
        ("privateer", False, False, False, False, False),
        ("cached", False, False, False, False, False),
    ],
)
def test_channel_name_implies_its_kind(channel, presence, auth, cache, user, client_events):
    assert names.is_presence(channel) is presence
    assert names.needs_auth(channel) is auth
    assert names.is_cache(channel) is cache
    assert names.is_user_channel(channel) is user
    assert names.takes_client_events(channel) is client_events
