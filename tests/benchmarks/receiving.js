// pusher-js in one process, which takes events until the last.

"use strict";

const fs = require("fs");
const Pusher = require(process.env.PUSHER_JS);

const { port, events } = JSON.parse(process.argv[2]);
const pusher = new Pusher("app-key", {
  cluster: "none",
  wsHost: "127.0.0.1",
  wsPort: port,
  forceTLS: false,
  enabledTransports: ["ws"],
});
let count = 0;
let wrong = 0;
let early = 0;
let cpu;
let began;

function resident() {
  return Number(fs.readFileSync("/proc/self/statm", "ascii").split(" ")[1]) * 4096;
}

pusher.subscribe("load").bind("tick", ({ number }) => {
  if (count === 0) {
    cpu = process.cpuUsage();
    began = process.hrtime.bigint();
  }
  if (number !== count) wrong += 1;
  count += 1;
  if (count === Math.floor(events / 5)) early = resident();
  if (count === events) {
    const { user, system } = process.cpuUsage(cpu);
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    const result = { events: count, wrong, cpu: (user + system) / 1e6, seconds, early };
    console.log(JSON.stringify({ ...result, late: resident() }));
    pusher.disconnect();
    process.exit(0);
  }
});
