// The checks of cluster_mode_test.go, with ioredis's Cluster and its default options; sharded channels need one of their own.
'use strict';

const { Cluster } = require('ioredis');
const { port, equal, Events, allBytes, run } = require('../nodecheck.js');

const nodes = [{ host: '127.0.0.1', port }];
const connect = (options) => new Cluster(nodes, options).on('error', () => {});
const r = connect();
const key = (i) => `ioredis:${i}`;

run({
  async connect() {
    equal(await r.ping(), 'PONG');
    equal(r.nodes('master').length, 1);
  },

  async count() {
    for (let i = 0; i < 100; i++) equal([await r.incr(key(i)), await r.get(key(i))], [1, '1']);
  },

  // A pipeline is for keys of one node; with all of them on one, they may be of any slots.
  async pipeline() {
    const pipeline = r.pipeline();
    for (let i = 0; i < 100; i++) pipeline.incrby(key(i), i);
    equal(await pipeline.exec(), Array.from({ length: 100 }, (_, i) => [null, i + 1]));
  },

  async mget() {
    equal(await r.mset('{ioredis}a', 1, '{ioredis}b', 2), 'OK');
    equal(await r.mget('{ioredis}a', '{ioredis}b', '{ioredis}none'), ['1', '2', null]);
  },

  async transaction() {
    equal(await r.multi().incrby('{ioredis}a', 10).get('{ioredis}a').exec(), [[null, 11], [null, '11']]);
  },

  async 'pub-sub'() {
    const s = connect();
    const events = new Events();
    s.on('messageBuffer', (channel, message) => events.push('message', channel.toString(), message.toString('latin1')));
    s.on('pmessageBuffer', (pattern, channel, message) =>
      events.push(pattern.toString(), channel.toString(), message.toString('latin1')));
    equal([await s.subscribe('ioredis:news'), await s.psubscribe('ioredis:new?')], [1, 2]);
    for (const text of [Buffer.from('one'), allBytes]) {
      await r.publish('ioredis:news', text);
      const heard = ['ioredis:news', text.toString('latin1')];
      await events.next(['message', ...heard], ['ioredis:new?', ...heard]);
    }
    s.disconnect();
  },

  async sharded() {
    const s = connect({ shardedSubscribers: true });
    const events = new Events();
    s.on('smessage', (channel, message) => events.push(channel, message));
    await new Promise((resolve) => s.once('ready', resolve));
    equal(await s.ssubscribe('ioredis:shard'), 1);
    equal(await r.spublish('ioredis:shard', 'one'), 1);
    await events.next(['ioredis:shard', 'one']);
    s.disconnect();
  },
});
