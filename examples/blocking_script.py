"""
Publish from a plain script: no reactor in sight.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python blocking_script.py
"""

from __future__ import annotations

from txpusher import BlockingPusher, PusherError


def main() -> None:
    with BlockingPusher.from_env(timeout=2.0) as pusher:
        pusher.trigger("reports", "ready", {"report": 12})
        print("published")
        for name, state in pusher.channels(info="subscription_count")["channels"].items():
            print(f"{name} is occupied: {state}")


if __name__ == "__main__":
    try:
        main()
    except PusherError as error:
        raise SystemExit(f"not published: {error}") from None
