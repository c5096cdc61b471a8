// The checks of secure_test.go, with ioredis.
'use strict';

const fs = require('node:fs');
const { Redis, ReplyError } = require('ioredis');
const { port, equal, rejects, run } = require('../nodecheck.js');

const [ca, cert, key, unknownCA] = process.argv.slice(3, 7).map((path) => fs.readFileSync(path));

/** connect opens a client that gives up at the first error, which is then its property lost: commands say only that it is closed. */
function connect(host = 'localhost', tls = {}, password = 'app-secret') {
  const c = new Redis({ host, port, username: 'app', password, tls: { ca, cert, key, ...tls }, retryStrategy: null });
  return c.on('error', (e) => (c.lost ??= e));
}

/** refused demands that a connection does not come about, for a reason with text in it. */
async function refused(text, host, tls, password) {
  const c = connect(host, tls, password);
  const got = await c.ping().catch((e) => e);
  c.disconnect();
  equal(got instanceof Error, true);
  const reason = `${got.message} ${c.lost?.message}`;
  equal(reason.includes(text) || reason, true);
}

const r = connect();
const whoami = async () => equal(await r.acl('WHOAMI'), 'app');

run({
  connect: whoami,

  async count() {
    equal([await r.incr('app:n'), await r.incrby('app:n', 41), await r.get('app:n')], [1, 42, '42']);
  },

  async pipeline() {
    const pipeline = r.pipeline();
    for (let i = 0; i < 1000; i++) pipeline.incr('app:pipeline');
    equal(await pipeline.exec(), Array.from({ length: 1000 }, (_, i) => [null, i + 1]));
  },

  async transaction() {
    equal(await r.multi().set('app:tx', 5).incrby('app:tx', 10).exec(), [[null, 'OK'], [null, 15]]);
  },

  async 'big-value'() {
    const value = 'v'.repeat(1000000);
    equal([await r.set('app:big', value), (await r.get('app:big')) === value], ['OK', true]);
  },

  async 'noperm-command'() {
    await rejects(r.flushall(), ReplyError, 'NOPERM ');
    await whoami();
  },

  async 'noperm-key'() {
    await rejects(r.incr('other'), ReplyError, 'NOPERM ');
    await whoami();
  },

  async 'noperm-pipeline'() {
    const [before, no, after] = await r.pipeline().incr('app:pipe').incr('other').incr('app:pipe').exec();
    equal([before, after, no[0] instanceof ReplyError, no[0].message.slice(0, 7)], [[null, 1], [null, 2], true, 'NOPERM ']);
  },

  async 'noperm-transaction'() {
    await rejects(r.multi().incr('app:denied').incr('other').exec(), ReplyError, 'EXECABORT ');
    equal(await r.exists('app:denied'), 0);
  },

  'no-certificate': () => refused('', 'localhost', { cert: undefined, key: undefined }),
  'unknown-authority': () => refused('certificate', 'localhost', { ca: unknownCA }),
  'other-name': () => refused("does not match certificate's altnames", '127.0.0.1'),
  'wrong-password': () => refused('WRONGPASS ', 'localhost', {}, 'wrong'),
});
