// The checks of cluster_mode_test.go, with node-redis's createCluster and its default options.
'use strict';

const { createCluster } = require('redis');
const { port, equal, Events, allBytes, run } = require('../nodecheck.js');

async function main() {
  const r = await createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${port}` }] }).on('error', () => {}).connect();
  const key = (i) => `node-redis:${i}`;

  await run({
    async connect() {
      equal(r.masters.length, 1);
      equal(await r.sendCommand(undefined, true, ['PING']), 'PONG');
    },

    async count() {
      for (let i = 0; i < 100; i++) equal([await r.incr(key(i)), await r.get(key(i))], [1, '1']);
    },

    async pipeline() {
      const replies = await Promise.all(Array.from({ length: 100 }, (_, i) => r.incrBy(key(i), i)));
      equal(replies, Array.from({ length: 100 }, (_, i) => i + 1));
    },

    async mget() {
      equal(await r.mSet([['{node-redis}a', '1'], ['{node-redis}b', '2']]), 'OK');
      equal(await r.mGet(['{node-redis}a', '{node-redis}b', '{node-redis}none']), ['1', '2', null]);
    },

    async transaction() {
      equal(await r.multi().incrBy('{node-redis}a', 10).get('{node-redis}a').exec(), [11, '11']);
    },

    async 'pub-sub'() {
      const events = new Events();
      const hear = (kind) => (message, channel) => events.push(kind, channel.toString(), message.toString('latin1'));
      await r.subscribe('node-redis:news', hear('message'), true);
      await r.pSubscribe('node-redis:new?', hear('pmessage'), true);
      for (const text of [Buffer.from('one'), allBytes]) {
        await r.publish('node-redis:news', text);
        const heard = ['node-redis:news', text.toString('latin1')];
        await events.next(['message', ...heard], ['pmessage', ...heard]);
      }
      await r.unsubscribe('node-redis:news');
      await r.pUnsubscribe('node-redis:new?');
    },

    async sharded() {
      const events = new Events();
      await r.sSubscribe('node-redis:shard', (message, channel) => events.push(channel, message));
      equal(await r.sPublish('node-redis:shard', 'one'), 1);
      await events.next(['node-redis:shard', 'one']);
      await r.sUnsubscribe('node-redis:shard');
      equal(await r.sPublish('node-redis:shard', 'nobody'), 0);
    },
  });
}

main();
