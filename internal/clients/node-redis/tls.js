// node-redis over TLS: with a certificate, and without one, which the server demands.
'use strict';

const fs = require('node:fs');
const { createClient } = require('redis');
const { port, equal, run } = require('../nodecheck.js');

const [ca, cert, key] = process.argv.slice(3, 6).map((path) => fs.readFileSync(path));

/** client is a client that gives up at the first error. */
function client(options) {
  const socket = { host: 'localhost', port, tls: true, ca, reconnectStrategy: false, ...options };
  return createClient({ socket }).on('error', () => {});
}

run({
  async certificate() {
    const c = await client({ cert, key }).connect();
    equal(await c.incrBy('node-redis', 41), 41);
    const replies = await Promise.all(Array.from({ length: 1000 }, () => c.incr('node-redis')));
    equal(replies.at(-1), 1041);
    const value = 'v'.repeat(1000000);
    equal(await c.set('node-redis:big', value), 'OK');
    equal(await c.get('node-redis:big'), value);
    await c.close();
  },

  async none() {
    let letIn = false;
    try {
      const c = await client({}).connect();
      await c.ping();
      letIn = true;
    } catch {
      // as it should be
    }
    equal(letIn, false);
  },
});
