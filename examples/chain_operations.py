"""
Chain operations, and decide after a failure whether an event may be sent again.

Announces a game on a presence channel, sees who is there, and deals a card to
each of them.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python chain_operations.py
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.task import react

from txpusher import APIError, InvalidRequestError, Pusher, PusherError

TABLE = "presence-table-7"


async def play(pusher: Pusher) -> None:
    await pusher.trigger(TABLE, "game-begins", {"game": "whist"})
    table = await pusher.channel_info(TABLE, info="user_count")
    if not table["occupied"]:
        print("nobody is at the table")
        return
    reply = await pusher.channel_users(TABLE)
    players = [user["id"] for user in reply["users"]]
    await gatherResults(
        [pusher.send_to_user(player, "card", {"card": n}) for n, player in enumerate(players)],
        consumeErrors=True,
    )
    print(f"dealt to {', '.join(players)}")


async def main(reactor: Any) -> None:
    pusher = Pusher.from_env()
    try:
        await play(pusher)
        # The channel's name is wrong, so this is refused before anything is sent.
        await pusher.trigger("table 7", "game-ends", {})
    except InvalidRequestError as error:
        print(f"a mistake in this program: {error}")
    except APIError as error:
        print(f"the server refused with status {error.status}: {error}")
    except PusherError as error:
        if error.maybe_delivered:
            print(f"look before you send it again: {error}")
        else:
            print(f"it did not arrive, send it again: {error}")
    finally:
        await pusher.close()


if __name__ == "__main__":
    react(main)
