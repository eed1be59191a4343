"""
Words of others without the signatures and the keys that they may quote.

A text is redacted before it is cut: half a signature does not look like one.
"""

from __future__ import annotations

import re

# Hex digits of a signature; 32 bytes in base64, which is how the key of an encrypted channel
# travels.  JSON may have a backslash before each slash.
_SECRETS = re.compile(r"[0-9a-fA-F]{32,}|(?:[A-Za-z0-9+_-]|\\?/){43,}(?:=|\\u003[dD])")

# The fields of an authorizer's answer that are secret; "unauthorized" is not one of them.
_FIELDS = re.compile(r"(?<![A-Za-z])auth(?![A-Za-z])|shared_secret")


def redact_signatures(text: str) -> str:
    """Replace what may be a signature or a key in *text*: servers quote what they refuse."""
    return _SECRETS.sub("[redacted]", text)


def may_authorize(text: str) -> bool:
    """Tell whether *text* names a field that holds a signature or a key."""
    return _FIELDS.search(text) is not None
