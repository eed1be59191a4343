"""
Words of others without the signatures and the keys that they may quote.

A text is redacted before it is cut: half a signature does not look like one.
"""

from __future__ import annotations

import re

# Hex digits of a signature.
_HEX = re.compile(r"[0-9a-fA-F]{32,}")

# What may be base64, whole: JSON may have a backslash before each slash.  Whatever follows, it
# matches as far as it goes, so that a long text takes no longer than its length.
_RUN = re.compile(r"((?:[A-Za-z0-9+_-]|\\?/)+)(=|\\u003[dD])?")

#: How many characters, and an equals sign, are 32 bytes in base64: the key of an encrypted
#: channel.
_KEY_LENGTH = 43

# The fields of an authorizer's answer that are secret, not the word in a sentence or a path.
_FIELDS = re.compile(r"(?:(?<![A-Za-z])auth|shared_secret)(?:\\?[\"'])?\s*[:=]")


def redact_signatures(text: str) -> str:
    """Replace what may be a signature or a key in *text*: servers quote what they refuse."""
    return _RUN.sub(_redacted, text)


def _redacted(found: re.Match[str]) -> str:
    run, end = found.groups()
    if end and len(run.replace("\\/", "/")) >= _KEY_LENGTH:
        return "[redacted]"
    return _HEX.sub("[redacted]", found[0])


def may_authorize(text: str) -> bool:
    """Tell whether *text* names a field that holds a signature or a key."""
    return _FIELDS.search(text) is not None
