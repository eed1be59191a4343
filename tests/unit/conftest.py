"""What the unit tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from txpusher._api import Api

from .helpers import make_api

# A slow machine is no failure, and tests leave no files behind.
settings.register_profile("unit", deadline=None, database=None)
settings.load_profile("unit")


@pytest.fixture
def api() -> Api:
    """The endpoints of an app that has an encryption key."""
    return make_api()
