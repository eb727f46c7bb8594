/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* One session of ImapFlow: takes method calls as lines of JSON, [NAME, ARGUMENT...], and
   answers each by a line {"result"} or {"failed"}; lines {"event"} come at any time. */

"use strict";

const { ImapFlow } = require("imapflow");
const { createInterface } = require("readline");

const [port, user, pass] = process.argv.slice(2);
const client = new ImapFlow({
  host: "127.0.0.1",
  port: Number(port),
  secure: false,
  auth: { user, pass },
  logger: false,
  qresync: true,
});

const toJson = (_, value) => {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Set) return [...value];
  if (value instanceof Map) return [...value.keys()];
  return value;
};
const say = (what) => console.log(JSON.stringify(what, toJson));

const calls = {
  connect: async () => {
    await client.connect();
    return client.capabilities;
  },
  // It resolves when IDLE ends.
  idle: () => void client.idle(),
  fetch: async () => {
    const found = [];
    for await (const mail of client.fetch("1:*", { flags: true, envelope: true })) {
      found.push([mail.envelope.subject, mail.flags]);
    }
    return found;
  },
};

for (const event of ["exists", "expunge", "flags"]) {
  client.on(event, (what) => say({ event, ...what }));
}

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...args] = JSON.parse(line);
    try {
      const result = await (calls[name] ? calls[name]() : client[name](...args));
      say({ result: result === undefined ? null : result });
    } catch (error) {
      say({ failed: error.responseText || String(error) });
    }
  }
  await client.logout();
})();
