// The load of the bench over the AWS Advanced Node.js wrapper. Started by the bench, with its standard input open as long
// as it wants to read.
//
// What is not theirs are only the addresses: names like Amazon's lead to ports of this machine.

import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const { PEER_SQL, PEER_HOST, PEER_PLACES, PEER_PASSWORD, PEER_TASKS, PEER_MODULES } = process.env;
const modules = createRequire(`${PEER_MODULES}/`);
const load = (name) => import(pathToFileURL(modules.resolve(name)));
const { AwsPGClient } = await load("aws-advanced-nodejs-wrapper/pg");
const { FailoverSuccessError } = await load("aws-advanced-nodejs-wrapper");

const EVERY = 10;
const PORTS = new Map(PEER_PLACES.split(" ").map((place) => place.split("=")));

const connectSocket = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (port, host, ...rest) {
  const known = PORTS.get(host);
  return known ? connectSocket.call(this, Number(known), "127.0.0.1", ...rest) : connectSocket.call(this, port, host, ...rest);
};

async function connect() {
  const client = new AwsPGClient({
    host: PEER_HOST,
    port: 5432,
    database: "app",
    user: "plain",
    password: PEER_PASSWORD,
    // The cheapest a connect can be.
    ssl: false,
    // It would not find it out: the stage has no settings of Aurora's.
    dialect: "aurora-pg",
  });
  await client.connect();
  return client;
}

function report(takenBy) {
  // CLOCK_MONOTONIC, which the bench reads too.
  writeSync(1, `${process.hrtime.bigint()} ${takenBy}\n`);
}

async function task() {
  let client = null;
  let due = performance.now();
  for (;;) {
    const now = performance.now();
    if (due > now) await sleep(due - now);
    due = Math.max(due, now) + EVERY;
    try {
      client ??= await connect();
      const { rows } = await client.query(PEER_SQL);
      report(rows[0].inet_server_port);
    } catch (error) {
      console.error(`${process.hrtime.bigint()} ${error.message}`);
      report("failed");
      if (error instanceof FailoverSuccessError) {
        // The client leads to the new writer: again at once.
        due = 0;
        continue;
      }
      // A new one at once; if there was none, only after a while.
      if (client) due = 0;
      client?.end().catch(() => {});
      client = null;
    }
  }
}

// What a library lets slip must not end the load.
process.on("uncaughtException", () => {});
process.on("unhandledRejection", () => {});
process.stdin.resume().on("end", () => process.exit(0));
for (let n = 0; n < Number(PEER_TASKS); n++) task();
