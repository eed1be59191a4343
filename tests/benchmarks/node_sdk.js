// The official Node.js server SDK's trigger or triggerBatch, with an agent that keeps
// connections.
//
// One argument, JSON: the port, whether to use TLS, requests in flight, events per request
// (one: trigger; more: triggerBatch), how to warm up (as measuring.py's WarmUp), seconds to measure, channels to spread over.  Prints
// one JSON object.

"use strict";

const Pusher = require("pusher");

const plan = JSON.parse(process.argv[2]);
const { Agent } = require(plan.tls ? "https" : "http");

const pusher = new Pusher({
  appId: plan.app_id,
  key: plan.key,
  secret: plan.secret,
  host: "127.0.0.1",
  port: String(plan.port),
  useTLS: plan.tls,
  agent: new Agent({ keepAlive: true, maxSockets: plan.in_flight }),
});

let number = 0;

function next() {
  number += 1;
  return {
    channel: `channel-${number % plan.channels}`,
    name: "benchmark-event",
    data: { number, text: plan.text },
  };
}

function send() {
  if (plan.batch > 1) return pusher.triggerBatch(Array.from({ length: plan.batch }, next));
  const { channel, name, data } = next();
  return pusher.trigger(channel, name, data);
}

async function one() {
  const reply = await send();
  if ((await reply.text()) !== "{}") throw new Error("not the reply of the sink");
}

async function until(deadline) {
  while (performance.now() < deadline) await one();
}

async function keepFor(seconds) {
  const before = number;
  const deadline = performance.now() + seconds * 1000;
  await Promise.all(Array.from({ length: plan.in_flight }, () => until(deadline)));
  return number - before;
}

async function measure(seconds) {
  const cpu = process.cpuUsage();
  const began = performance.now();
  const events = await keepFor(seconds);
  const took = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  return { events, seconds: took, cpu: (used.user + used.system) / 1e6 };
}

function isLevel(costs, { alike, spread }) {
  const last = costs.slice(-alike);
  return last.length === alike && Math.max(...last) <= spread * Math.min(...last);
}

(async () => {
  const warmUp = plan.warm_up;
  const costs = [];
  while (!isLevel(costs, warmUp) && costs.length < warmUp.most) {
    const { events, cpu } = await measure(warmUp.slice);
    costs.push(cpu / events);
  }
  const measured = await measure(plan.seconds);
  console.log(JSON.stringify({ ...measured, level: isLevel(costs, warmUp) }));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
