// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// What a push costs npm's web-push: NODE_PATH=.../node_modules node
// web_push_speed.js CONFIG, where CONFIG is JSON {endpoint, ca, pushes, window,
// payload (octets), keys: [{p256dh, auth}]}. Prints {"cpu_us", "seconds"}.
"use strict";

const fs = require("fs");
const https = require("https");
const webpush = require("web-push");

const config = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const agent = new https.Agent({
  ca: fs.readFileSync(config.ca),
  keepAlive: true,
  maxSockets: 4,
});
const vapid = webpush.generateVAPIDKeys();
const options = {
  agent,
  TTL: 86400,
  urgency: "high",
  vapidDetails: { subject: "mailto:admin@example.org", ...vapid },
};
const payload = "x".repeat(config.payload);

async function send(count) {
  let next = 0;
  async function worker() {
    while (next < count) {
      const keys = config.keys[next++ % config.keys.length];
      await webpush.sendNotification({ endpoint: config.endpoint, keys }, payload, options);
    }
  }
  await Promise.all(Array.from({ length: config.window }, worker));
}

(async () => {
  // The compiler has seen it all.
  await send(Math.min(config.pushes, 500));
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  await send(config.pushes);
  const used = process.cpuUsage(cpu);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  console.log(JSON.stringify({ cpu_us: used.user + used.system, seconds }));
})();
