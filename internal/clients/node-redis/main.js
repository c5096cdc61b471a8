// The checks of package clients, with node-redis (the package "redis") and its default options.
'use strict';

const { createClient, RESP_TYPES, ErrorReply, MultiErrorReply, SimpleError, WatchError } = require('redis');
const { port, socket, authPort, equal, rejects, restartServer, sleep, Events, until, allBytes, run } = require('../nodecheck.js');

/** connect opens a client; without a listener for errors, losing a connection would end the process. */
async function connect(options = { socket: { port } }) {
  return createClient(options).on('error', () => {}).connect();
}

async function watchIncrement(mine) {
  for (;;) {
    await mine.watch('optimistic');
    const n = Number(await mine.get('optimistic'));
    try {
      await mine.multi().set('optimistic', n + 1).exec();
      return;
    } catch (e) {
      if (!(e instanceof WatchError)) throw e;
    }
  }
}

async function churn(state) {
  const mine = await connect();
  for (; !state.stop; state.rounds++) {
    const commands = [];
    for (let i = 0; i < 300; i++) {
      commands.push(mine.set(`go:${state.rounds % 20}:${i}`, 1));
      commands.push(mine.del(`go:${(state.rounds + 10) % 20}:${i}`));
    }
    await Promise.all(commands);
  }
  await mine.close();
}

async function main() {
  const r = await connect();
  const binary = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });

  await run({
    async connect() {
      equal(await r.ping(), 'PONG');
    },

    async protocol() {
      equal((await r.clientInfo()).resp, 3);
    },

    async count() {
      equal(await r.incr('count'), 1);
      equal(await r.incrBy('count', 10), 11);
      equal(await r.decr('count'), 10);
      equal(await r.decrBy('count', 20), -10);
      equal(await r.get('count'), '-10');
      equal(await r.incrByFloat('count:float', 0.1), '0.1');
      equal(await r.incrByFloat('count:float', 0.2), '0.3');
      equal(await r.mGet(['count', 'count:none']), ['-10', null]);
    },

    // Commands that are not awaited one by one go out together.
    async pipeline() {
      const replies = await Promise.all(Array.from({ length: 10000 }, () => r.incr('pipeline')));
      equal(replies, Array.from({ length: 10000 }, (_, i) => i + 1));
    },

    async transaction() {
      equal(await r.multi().set('tx', 5).incrBy('tx', 10).get('tx').ttl('tx').exec(), ['OK', 15, '15', -1]);
    },

    async 'transaction-error'() {
      await r.set('tx:text', 'text');
      const error = await r.multi().incr('tx:before').incr('tx:text').incr('tx:after').exec().catch((e) => e);
      equal([error.constructor, error.errorIndexes], [MultiErrorReply, [1]]);
      equal([error.replies[0], error.replies[2]], [1, 1]);
      equal(error.replies[1] instanceof ErrorReply, true);
      equal(error.replies[1].message, 'ERR value is not an integer or out of range');
    },

    // The error is that of the refused command, not the EXECABORT that follows.
    async 'transaction-refused'() {
      const refused = r.multi().incr('tx:refused').addCommand(['INCR']).exec();
      await rejects(refused, SimpleError, "ERR wrong number of arguments for 'incr' command");
      equal(await r.exists('tx:refused'), 0);
    },

    async 'watch-conflict'() {
      const mine = await connect();
      await mine.watch('watched');
      await r.set('watched', 'theirs');
      await rejects(mine.multi().set('watched', 'ours').exec(), WatchError, 'One (or more) of the watched keys');
      equal(await r.get('watched'), 'theirs');
      await mine.close();
    },

    async 'watch-increment'() {
      await Promise.all(Array.from({ length: 4 }, async () => {
        const mine = await connect();
        for (let i = 0; i < 25; i++) await watchIncrement(mine);
        await mine.close();
      }));
      equal(await r.get('optimistic'), '100');
    },

    async scan() {
      const stay = Array.from({ length: 3000 }, (_, i) => `stay:${i}`).sort();
      await r.mSet(stay.map((key) => [key, '1']));
      const state = { stop: false, rounds: 0 };
      const others = churn(state);
      while (state.rounds < 15) await sleep(5);
      for (let pass = 0; pass < 3; pass++) {
        const found = new Set();
        for await (const keys of r.scanIterator({ MATCH: 'stay:*', COUNT: 100 })) keys.forEach((key) => found.add(key));
        equal([...found].sort(), stay);
      }
      state.stop = true;
      await others;
    },

    async expiry() {
      await r.set('expiry', 1, { expiration: { type: 'EX', value: 100 } });
      const ttl = await r.ttl('expiry');
      equal(ttl >= 98 && ttl <= 100, true);
      equal(await r.persist('expiry'), 1);
      equal(await r.ttl('expiry'), -1);
      equal(await r.expire('expiry', 50), 1);
      const pttl = await r.pTTL('expiry');
      equal(pttl > 48000 && pttl <= 50000, true);
      equal(await r.expire('expiry:none', 50), 0);
      equal(await r.ttl('expiry:none'), -2);
      await r.set('expiry:soon', 1, { expiration: { type: 'PX', value: 30 } });
      for (let i = 0; i < 1000 && await r.exists('expiry:soon'); i++) await sleep(10);
      equal(await r.get('expiry:soon'), null);
    },

    async errors() {
      await r.set('errors', 'text');
      await rejects(r.incr('errors'), SimpleError, 'ERR value is not an integer or out of range');
      await rejects(r.sendCommand(['NOPE', 'a']), SimpleError, "ERR unknown command 'NOPE', with args beginning with: 'a'");
      await rejects(r.sendCommand(['GET']), SimpleError, "ERR wrong number of arguments for 'get' command");
      await rejects(r.sendCommand(['SET', 'errors', 'v', 'NOPE']), SimpleError, 'ERR syntax error');
      equal(await r.ping(), 'PONG');
    },

    async 'errors-auth'() {
      const locked = (password) => connect({ socket: { port: authPort, reconnectStrategy: false }, password });
      await rejects(locked(), SimpleError, 'NOAUTH HELLO must be called with the client already authenticated');
      await rejects(locked('wrong'), SimpleError, 'WRONGPASS invalid username-password pair');
      const right = await locked('secret');
      equal(await right.ping(), 'PONG');
      await right.close();
    },

    async 'errors-memory'() {
      await r.set('memory', 1);
      await r.configSet('maxmemory', '1');
      try {
        await rejects(r.incr('memory'), SimpleError, "OOM command not allowed when used memory > 'maxmemory'");
        equal(await r.get('memory'), '1');
      } finally {
        await r.configSet('maxmemory', '0');
      }
      equal(await r.incr('memory'), 2);
    },

    async 'big-value'() {
      const value = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 7) % 251));
      equal(await r.set('big', value), 'OK');
      equal(await r.strLen('big'), 1 << 20);
      equal(value.equals(await binary.get('big')), true);
    },

    async binary() {
      equal(await r.set(allBytes, allBytes), 'OK');
      equal(allBytes.equals(await binary.get(allBytes)), true);
      equal(await r.exists(allBytes), 1);
    },

    async 'pub-sub'() {
      const s = await r.duplicate().on('error', () => {}).connect();
      const events = new Events();
      const hear = (kind) => (message, channel) => events.push(kind, channel, message);
      equal(await r.publish('news', 'nobody'), 0);
      await s.subscribe('news', hear('message'));
      await s.subscribe('news', (message, channel) => events.push('bytes', channel.toString(), message), true);
      await s.pSubscribe('new?', hear('new?'));
      equal(await r.publish('news', 'one'), 2);
      equal(await r.publish('newt', 'two'), 1);
      equal(await r.publish('new', 'to nobody'), 0);
      await events.next(['bytes', 'news', Buffer.from('one')], ['message', 'news', 'one'], ['new?', 'news', 'one'], ['new?', 'newt', 'two']);
      await s.pUnsubscribe('new?');
      equal(await r.publish('news', allBytes), 1);
      await events.next(['bytes', 'news', allBytes], ['message', 'news', allBytes.toString()]);
      await s.unsubscribe('news');
      equal(await r.publish('news', 'nobody'), 0);
      await s.sSubscribe('shard', hear('smessage'));
      equal([await r.publish('shard', 'to nobody'), await r.sPublish('shard', 'one')], [0, 1]);
      await events.next(['smessage', 'shard', 'one']);
      await s.sUnsubscribe('shard');
      equal(await r.sPublish('shard', 'nobody'), 0);
      await s.close();
    },

    async 'unix-socket'() {
      const u = await connect({ socket: { path: socket } });
      equal(await u.incr('unix'), 1);
      equal(await r.get('unix'), '1');
      await u.close();
    },

    async reconnect() {
      const s = await r.duplicate().on('error', () => {}).connect();
      const events = new Events();
      await s.subscribe('renewed', (message) => events.push(message));
      equal(await r.incrBy('reconnect', 10), 10);
      await restartServer();
      equal(await r.incr('reconnect'), 11);
      await until(() => r.publish('renewed', 'after'), 1);
      await events.next(['after']);
    },
  });
}

main();
