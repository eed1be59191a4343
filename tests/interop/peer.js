// The line between a test and a Node.js program: JSON lines over a loopback
// connection to the port that the test gives as the first argument.

"use strict";

const net = require("node:net");
const readline = require("node:readline");

/**
 * Serves the test's calls until it hangs up, then ends the process.
 *
 * @param {Object} operations by name: functions of one object of arguments,
 *   returning a value or a promise of one.
 * @returns report(message), which tells the test something, and
 *   ask(question), which promises the test's answer.
 */
exports.serve = function (operations) {
  const socket = net.connect({ host: "127.0.0.1", port: Number(process.argv[2]) });
  socket.setNoDelay(true);
  const questions = new Map();
  let asked = 0;

  function send(message) {
    socket.write(JSON.stringify(message) + "\n");
  }

  async function perform({ call, operation, args }) {
    try {
      const value = await operations[operation](args);
      send({ type: "result", call, value: value === undefined ? null : value });
    } catch (error) {
      send({ type: "failed", call, error: String(error && error.stack ? error.stack : error) });
    }
  }

  readline.createInterface({ input: socket }).on("line", (line) => {
    const message = JSON.parse(line);
    if (message.type === "call") {
      perform(message);
    } else {
      const { resolve, reject } = questions.get(message.question);
      questions.delete(message.question);
      if (message.error === undefined) resolve(message.answer);
      else reject(new Error(message.error));
    }
  });
  socket.on("close", () => process.exit());
  socket.on("error", () => process.exit(1));

  return {
    report: (message) => send({ type: "report", message }),
    ask: (question) =>
      new Promise((resolve, reject) => {
        asked += 1;
        questions.set(asked, { resolve, reject });
        send({ type: "question", question: asked, about: question });
      }),
  };
};
