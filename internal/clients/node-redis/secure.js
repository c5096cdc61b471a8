// The checks of secure_test.go, with node-redis.
'use strict';

const fs = require('node:fs');
const { createClient, SimpleError } = require('redis');
const { port, equal, rejects, run } = require('../nodecheck.js');

const [ca, cert, key, unknownCA] = process.argv.slice(3, 7).map((path) => fs.readFileSync(path));

/** connect opens a client that gives up at the first error. */
async function connect(socket = {}, password = 'app-secret') {
  const settings = { host: 'localhost', port, tls: true, ca, cert, key, reconnectStrategy: false, ...socket };
  return createClient({ username: 'app', password, socket: settings }).on('error', () => {}).connect();
}

/** refused demands that there is no connection, or that its first command fails (with TLS 1.3 a server judges late), for a reason with text in it. */
async function refused(text, socket) {
  const got = await connect(socket).then((c) => c.ping()).catch((e) => e);
  equal(got instanceof Error, true);
  equal(got.message.includes(text) || got.message, true);
}

async function checks(r) {
  const whoami = async () => equal(await r.aclWhoAmI(), 'app');
  await run({
    connect: whoami,

    async count() {
      equal([await r.incr('app:n'), await r.incrBy('app:n', 41), await r.get('app:n')], [1, 42, '42']);
    },

    async pipeline() {
      const replies = await Promise.all(Array.from({ length: 1000 }, () => r.incr('app:pipeline')));
      equal(replies, Array.from({ length: 1000 }, (_, i) => i + 1));
    },

    async transaction() {
      equal(await r.multi().set('app:tx', 5).incrBy('app:tx', 10).exec(), ['OK', 15]);
    },

    async 'big-value'() {
      const value = 'v'.repeat(1000000);
      equal([await r.set('app:big', value), (await r.get('app:big')) === value], ['OK', true]);
    },

    async 'noperm-command'() {
      await rejects(r.flushAll(), SimpleError, 'NOPERM ');
      await whoami();
    },

    async 'noperm-key'() {
      await rejects(r.incr('other'), SimpleError, 'NOPERM ');
      await whoami();
    },

    async 'noperm-pipeline'() {
      const [before, no, after] = await Promise.allSettled([r.incr('app:pipe'), r.incr('other'), r.incr('app:pipe')]);
      equal([before.value, no.reason.message.slice(0, 7), after.value], [1, 'NOPERM ', 2]);
    },

    // The error is that of the denied command, not the EXECABORT that follows.
    async 'noperm-transaction'() {
      await rejects(r.multi().incr('app:denied').incr('other').exec(), SimpleError, 'NOPERM ');
      equal(await r.exists('app:denied'), 0);
    },

    'no-certificate': () => refused('', { cert: undefined, key: undefined }),
    'unknown-authority': () => refused('certificate', { ca: unknownCA }),
    'other-name': () => refused("does not match certificate's altnames", { host: '127.0.0.1' }),
    'wrong-password': () => rejects(connect({}, 'wrong'), SimpleError, 'WRONGPASS '),
  });
}

connect().then(checks);
