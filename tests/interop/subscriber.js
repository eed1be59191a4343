// pusher-js and laravel-echo on behalf of a test: opens any number of
// connections, and reports all that each of them is told.

"use strict";

const Pusher = require("pusher-js");
const { serve } = require("./peer");

const subscribers = new Map();

const { report, ask } = serve({
  open({ subscriber, key, host, port, options, library }) {
    const Client = require(library);
    const pusher = new Client(key, settings(subscriber, host, port, options));
    watch(subscriber, pusher);
    subscribers.set(subscriber, { pusher });
  },

  async open_echo({ subscriber, key, host, port, options }) {
    const { default: Echo } = await import("laravel-echo");
    const echo = new Echo({
      ...settings(subscriber, host, port, options),
      broadcaster: "pusher",
      Pusher,
      key,
    });
    watch(subscriber, echo.connector.pusher);
    subscribers.set(subscriber, { pusher: echo.connector.pusher, echo });
  },

  subscribe({ subscriber, channel }) {
    const subscription = subscribers.get(subscriber).pusher.subscribe(channel);
    const bound = new Set();
    subscription.bind_global((event, data) => {
      if (!event.startsWith("client-")) {
        report({ type: "event", subscriber, channel, event, data: plain(data) });
      } else if (!bound.has(event)) {
        // Only callbacks bound to a name are told who sent a client event.
        bound.add(event);
        subscription.bind(event, (data, metadata) =>
          report({ type: "event", subscriber, channel, event, data, metadata }),
        );
      }
    });
  },

  async send_subscribe({ subscriber, channel }) {
    const { pusher } = subscribers.get(subscriber);
    const { socket_id } = pusher.connection;
    const { auth } = await ask({ type: "channel", subscriber, channel, socket_id });
    pusher.send_event("pusher:subscribe", { auth, channel });
  },

  unsubscribe({ subscriber, channel }) {
    subscribers.get(subscriber).pusher.unsubscribe(channel);
  },

  trigger({ subscriber, channel, event, data }) {
    return subscribers.get(subscriber).pusher.channel(channel).trigger(event, data);
  },

  signin({ subscriber }) {
    subscribers.get(subscriber).pusher.signin();
  },

  user_data({ subscriber }) {
    return subscribers.get(subscriber).pusher.user.user_data;
  },

  leave_pings_to_the_server({ subscriber }) {
    const { connection } = subscribers.get(subscriber).pusher;
    connection.activityTimeout = 1e9;
    connection.resetActivityCheck();
  },

  members({ subscriber, channel }) {
    return plain(subscribers.get(subscriber).pusher.channel(channel).members);
  },

  subscription_count({ subscriber, channel }) {
    return subscribers.get(subscriber).pusher.channel(channel).subscriptionCount;
  },

  echo_listen({ subscriber, kind, channel, events, whispers }) {
    const room = subscribers.get(subscriber).echo[kind](channel);
    const tell = (event) => (data) =>
      report({ type: "echo", subscriber, channel, event, data: data === undefined ? null : data });
    room.subscribed(tell("subscribed")).error(tell("error"));
    if (kind === "join") {
      room.here(tell("here")).joining(tell("joining")).leaving(tell("leaving"));
    }
    for (const event of events) room.listen(event, tell(event));
    for (const event of whispers) room.listenForWhisper(event, tell(event));
  },

  echo_whisper({ subscriber, kind, channel, event, data }) {
    subscribers.get(subscriber).echo[kind](channel).whisper(event, data);
  },

  echo_leave({ subscriber, channel }) {
    subscribers.get(subscriber).echo.leave(channel);
  },

  disconnect({ subscriber }) {
    // It may never have been opened.
    subscribers.get(subscriber)?.pusher.disconnect();
  },
});

function settings(subscriber, host, port, options) {
  return {
    cluster: "none",
    wsHost: host,
    wsPort: port,
    forceTLS: false,
    enabledTransports: ["ws"],
    channelAuthorization: {
      customHandler: ({ channelName, socketId }, callback) =>
        answer({ type: "channel", subscriber, channel: channelName, socket_id: socketId }, callback),
    },
    userAuthentication: {
      customHandler: ({ socketId }, callback) =>
        answer({ type: "user", subscriber, socket_id: socketId }, callback),
    },
    // How libraries before version 7.1 spell it; later ones prefer the above.
    authorizer: ({ name: channel }) => ({
      authorize: (socket_id, callback) =>
        answer({ type: "channel", subscriber, channel, socket_id }, (error, authorization) =>
          callback(Boolean(error), authorization),
        ),
    }),
    ...options,
  };
}

function answer(question, callback) {
  ask(question).then(
    (authorization) => callback(null, authorization),
    (error) => callback(error, null),
  );
}

function watch(subscriber, pusher) {
  pusher.connection.bind("state_change", ({ previous, current }) =>
    report({ type: "state", subscriber, previous, current }),
  );
  pusher.connection.bind("connected", ({ socket_id }) =>
    report({ type: "connected", subscriber, socket_id }),
  );
  pusher.connection.bind("error", (error) => {
    const { code = null, message = null } = (error.error || error).data || {};
    report({ type: "error", subscriber, kind: error.type, code, message });
  });
  pusher.connection.bind("message", ({ event, channel, data }) =>
    report({ type: "message", subscriber, event, channel, data }),
  );
  // Sign-ins came with version 7.1.
  if (!pusher.user) return;
  pusher.user.bind_global((event, data) =>
    report({ type: "user_event", subscriber, event, data: plain(data) }),
  );
  pusher.user.watchlist.bind_global((event, data) =>
    report({ type: "watchlist", subscriber, event, data: plain(data) }),
  );
}

// A presence channel's members as JSON; anything else is JSON already.
function plain(data) {
  if (data === undefined) return null;
  if (data === null || typeof data.each !== "function") return data;
  return { members: data.members, count: data.count, me: data.me };
}
