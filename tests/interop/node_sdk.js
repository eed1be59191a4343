// The official Node.js server SDK on behalf of a test.

"use strict";

const Pusher = require("pusher");
const nacl = require("tweetnacl");
const { serve } = require("./peer");

const OPERATIONS = new Set([
  "authenticateUser",
  "authorizeChannel",
  "createSignedQueryString",
  "get",
  "post",
  "sendToUser",
  "terminateUserConnections",
  "trigger",
  "triggerBatch",
]);

serve({
  // What a method returns; of an HTTP operation the reply's status and text.
  async method({ settings, name, args }) {
    if (!OPERATIONS.has(name)) throw new Error(`not an operation: ${name}`);
    try {
      const value = await new Pusher(settings)[name](...args);
      if (!value || typeof value.text !== "function") return value;
      return { status: value.status, body: await value.text() };
    } catch (error) {
      if (error instanceof Pusher.RequestError && error.status !== undefined) {
        return { status: error.status, body: error.body };
      }
      throw error;
    }
  },

  async channels_for_url({ url }) {
    return (await Pusher.forURL(url).get({ path: "/channels" })).status;
  },

  // The body that a trigger would post.
  trigger_body({ settings, args }) {
    const pusher = new Pusher(settings);
    pusher.post = ({ body }) => body;
    return pusher.trigger(...args);
  },

  // What a subscriber makes of an encrypted event, with the secret it was given.
  decrypt({ shared_secret, payload }) {
    const { nonce, ciphertext } = JSON.parse(payload);
    const bytes = nacl.secretbox.open(base64(ciphertext), base64(nonce), base64(shared_secret));
    return bytes === null ? null : Buffer.from(bytes).toString("utf8");
  },

  sign({ key, secret, text }) {
    return new Pusher.Token(key, secret).sign(text);
  },

  webhook({ settings, headers, body }) {
    const webhook = new Pusher(settings).webhook({ headers, rawBody: body });
    const valid = webhook.isValid();
    return { valid, events: valid ? webhook.getEvents() : null };
  },
});

function base64(text) {
  return new Uint8Array(Buffer.from(text, "base64"));
}
