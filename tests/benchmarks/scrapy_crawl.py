"""
A crawl of a local site, with the add-on for Scrapy and without it, in turn.

    python -m tests.benchmarks.scrapy_crawl [--pages 2000] [--rounds 5]

The site and the Channels server are processes of their own.  Prints the items per second of
both, the ratio, and whether every item arrived exactly once; exits 1 where an item is missing
or the ratio of the medians is below 0.9.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from txpusher.testing import BlockingRunningServer

CRAWL = Path(__file__).parents[1] / "integration" / "scripts" / "crawl.py"
TARGET = 0.9

SITE = """
import sys
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site
class Pages(Resource):
    isLeaf = True
    def render_GET(self, request):
        if request.path == b"/":
            return b"".join(b'<a href="/%d">page</a>' % n for n in range(int(sys.argv[1])))
        return b"<html><body><p>text of " + request.path + b"</p>" + b"<div>x</div>" * 200
port = reactor.listenTCP(0, Site(Pages()), interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""


def crawl(url: str, pusher_url: str, *, add_on: bool) -> tuple[float, dict[str, object]]:
    """Run one crawl; return its seconds, without the start of the interpreter, and stats."""
    settings = {
        "LOG_LEVEL": "WARNING",
        "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
        **({} if add_on else {"ADDONS": {}}),
    }
    done = subprocess.run(
        [sys.executable, str(CRAWL), url, json.dumps(settings)],
        env={**os.environ, "PUSHER_URL": pusher_url},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    result = json.loads(done.stdout.rpartition("RESULT ")[2])
    stats: dict[str, object] = result["stats"]
    return float(str(stats["elapsed_time_seconds"])), stats


def main() -> int:
    """Run the crawls; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with subprocess.Popen(
        [sys.executable, "-c", SITE, str(options.pages)], stdout=subprocess.PIPE, text=True
    ) as site:
        try:
            assert site.stdout is not None
            url = f"http://127.0.0.1:{int(site.stdout.readline())}/"
            return compare(url, options.pages, options.rounds)
        finally:
            site.terminate()


def compare(url: str, pages: int, rounds: int) -> int:
    """Crawl in turn; print and judge."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    lost = 0
    for number in range(rounds):
        for add_on in (number % 2 == 0, number % 2 == 1):
            with BlockingRunningServer.start() as server:
                took, stats = crawl(url, server.url, add_on=add_on)
                seconds[add_on].append(took)
                if add_on:
                    time.sleep(0.2)
                    arrived = Counter(
                        event.data["number"]
                        for event in server.events
                        if event.name == "item_scraped"
                    )
                    if arrived != Counter(range(pages)):
                        lost += 1
                        print(f"round {number}: {len(arrived)} of {pages} items: {stats}")
    rates = {add_on: pages / statistics.median(times) for add_on, times in seconds.items()}
    ratio = rates[True] / rates[False]
    print(f"items per second without the add-on  {rates[False]:8.0f}")
    print(f"items per second with it             {rates[True]:8.0f}")
    print(f"ratio                                {ratio:8.2f}   (target {TARGET})")
    print(f"rounds in which not every item arrived exactly once: {lost}")
    return 1 if lost or ratio < TARGET else 0


if __name__ == "__main__":
    sys.exit(main())
