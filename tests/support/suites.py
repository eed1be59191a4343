"""What the suites that tests start in processes of their own have to be told."""

from __future__ import annotations

from importlib.metadata import entry_points

#: The options with which pytest finds the fixtures, where the package is not installed.
PLUGIN = (
    []
    if entry_points(group="pytest11", name="txpusher")
    else ["-p", "txpusher._testing_plugin"]
)
