"""The client over real sockets, against servers and proxies that misbehave by script."""

import importlib
import sys

# The names that helpers had before they moved to tests/support.
for _old, _new in {
    "asserting": "asserting",
    "blocking_server": "blocking_server",
    "certificates": "certificates",
    "credentials": "credentials",
    "misbehaving": "misbehaving",
    "observing": "observing",
    "programs": "programs",
    "server_client": "raw_client",
}.items():
    sys.modules[f"{__name__}.{_old}"] = importlib.import_module(f"tests.support.{_new}")
sys.modules[f"{__name__}.misbehaving"].PATIENCE = 10.0  # type: ignore[attr-defined]
