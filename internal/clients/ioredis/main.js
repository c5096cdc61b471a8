// The checks of package clients, with ioredis and its default options.
'use strict';

const { Redis, ReplyError } = require('ioredis');
const { port, socket, authPort, equal, rejects, restartServer, sleep, Events, until, allBytes, run } = require('../nodecheck.js');

/** connect opens a client; ioredis prints errors of a connection that nobody listens to. */
function connect(...options) {
  return new Redis(...options).on('error', () => {});
}

const r = connect(port);

async function watchIncrement(mine) {
  for (;;) {
    await mine.watch('optimistic');
    const n = Number(await mine.get('optimistic'));
    if (await mine.multi().set('optimistic', n + 1).exec()) return;
  }
}

async function churn(state) {
  const mine = connect(port);
  for (; !state.stop; state.rounds++) {
    const pipeline = mine.pipeline();
    for (let i = 0; i < 300; i++) {
      pipeline.set(`go:${state.rounds % 20}:${i}`, 1).del(`go:${(state.rounds + 10) % 20}:${i}`);
    }
    await pipeline.exec();
  }
  mine.disconnect();
}

/** locked sends one PING to the server that asks for a password. */
async function locked(options) {
  const client = connect(authPort, options);
  try {
    return await client.ping();
  } finally {
    client.disconnect();
  }
}

run({
  async connect() {
    equal(await r.ping(), 'PONG');
  },

  async protocol() {
    const info = await r.client('INFO');
    equal(/ resp=(\d)/.exec(info)[1], '3');
  },

  async count() {
    equal(await r.incr('count'), 1);
    equal(await r.incrby('count', 10), 11);
    equal(await r.decr('count'), 10);
    equal(await r.decrby('count', 20), -10);
    equal(await r.get('count'), '-10');
    equal(await r.incrbyfloat('count:float', 0.1), '0.1');
    equal(await r.incrbyfloat('count:float', 0.2), '0.3');
    equal(await r.mget('count', 'count:none'), ['-10', null]);
  },

  async pipeline() {
    const pipeline = r.pipeline();
    for (let i = 0; i < 10000; i++) pipeline.incr('pipeline');
    equal(await pipeline.exec(), Array.from({ length: 10000 }, (_, i) => [null, i + 1]));
  },

  async transaction() {
    const replies = await r.multi().set('tx', 5).incrby('tx', 10).get('tx').ttl('tx').exec();
    equal(replies, [[null, 'OK'], [null, 15], [null, '15'], [null, -1]]);
  },

  async 'transaction-error'() {
    await r.set('tx:text', 'text');
    const replies = await r.multi().incr('tx:before').incr('tx:text').incr('tx:after').exec();
    equal([replies[0], replies[2]], [[null, 1], [null, 1]]);
    equal(replies[1][0] instanceof ReplyError, true);
    equal(replies[1][0].message, 'ERR value is not an integer or out of range');
  },

  async 'transaction-refused'() {
    const refused = r.multi().incr('tx:refused').call('INCR').exec();
    await rejects(refused, ReplyError, 'EXECABORT Transaction discarded because of previous errors.');
    equal(await r.exists('tx:refused'), 0);
  },

  async 'watch-conflict'() {
    const mine = connect(port);
    await mine.watch('watched');
    await r.set('watched', 'theirs');
    equal(await mine.multi().set('watched', 'ours').exec(), null);
    equal(await r.get('watched'), 'theirs');
    mine.disconnect();
  },

  async 'watch-increment'() {
    await Promise.all(Array.from({ length: 4 }, async () => {
      const mine = connect(port);
      for (let i = 0; i < 25; i++) await watchIncrement(mine);
      mine.disconnect();
    }));
    equal(await r.get('optimistic'), '100');
  },

  async scan() {
    const stay = Array.from({ length: 3000 }, (_, i) => `stay:${i}`).sort();
    await r.mset(stay.flatMap((key) => [key, 1]));
    const state = { stop: false, rounds: 0 };
    const others = churn(state);
    while (state.rounds < 15) await sleep(5);
    for (let pass = 0; pass < 3; pass++) {
      const found = new Set();
      for await (const keys of r.scanStream({ match: 'stay:*', count: 100 })) keys.forEach((key) => found.add(key));
      equal([...found].sort(), stay);
    }
    state.stop = true;
    await others;
  },

  async expiry() {
    await r.set('expiry', 1, 'EX', 100);
    const ttl = await r.ttl('expiry');
    equal(ttl >= 98 && ttl <= 100, true);
    equal(await r.persist('expiry'), 1);
    equal(await r.ttl('expiry'), -1);
    equal(await r.expire('expiry', 50), 1);
    const pttl = await r.pttl('expiry');
    equal(pttl > 48000 && pttl <= 50000, true);
    equal(await r.expire('expiry:none', 50), 0);
    equal(await r.ttl('expiry:none'), -2);
    await r.set('expiry:soon', 1, 'PX', 30);
    for (let i = 0; i < 1000 && await r.exists('expiry:soon'); i++) await sleep(10);
    equal(await r.get('expiry:soon'), null);
  },

  async errors() {
    await r.set('errors', 'text');
    await rejects(r.incr('errors'), ReplyError, 'ERR value is not an integer or out of range');
    await rejects(r.call('NOPE', 'a'), ReplyError, "ERR unknown command 'NOPE', with args beginning with: 'a'");
    await rejects(r.call('GET'), ReplyError, "ERR wrong number of arguments for 'get' command");
    await rejects(r.call('SET', 'errors', 'v', 'NOPE'), ReplyError, 'ERR syntax error');
    equal(await r.ping(), 'PONG');
  },

  async 'errors-auth'() {
    await rejects(locked({}), ReplyError, 'NOAUTH HELLO must be called with the client already authenticated');
    await rejects(locked({ password: 'wrong' }), ReplyError, 'WRONGPASS invalid username-password pair');
    equal(await locked({ password: 'secret' }), 'PONG');
  },

  async 'errors-memory'() {
    await r.set('memory', 1);
    await r.config('SET', 'maxmemory', '1');
    try {
      await rejects(r.incr('memory'), ReplyError, "OOM command not allowed when used memory > 'maxmemory'");
      equal(await r.get('memory'), '1');
    } finally {
      await r.config('SET', 'maxmemory', '0');
    }
    equal(await r.incr('memory'), 2);
  },

  async 'big-value'() {
    const value = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 7) % 251));
    equal(await r.set('big', value), 'OK');
    equal(await r.strlen('big'), 1 << 20);
    equal(value.equals(await r.getBuffer('big')), true);
  },

  async binary() {
    equal(await r.set(allBytes, allBytes), 'OK');
    equal(allBytes.equals(await r.getBuffer(allBytes)), true);
    equal(await r.exists(allBytes), 1);
  },

  async 'pub-sub'() {
    const s = connect(port);
    const events = new Events();
    for (const name of ['message', 'pmessage', 'smessage']) s.on(name, (...words) => events.push(name, ...words));
    equal(await r.publish('news', 'nobody'), 0);
    equal([await s.subscribe('news'), await s.psubscribe('new?')], [1, 2]);
    equal(await r.publish('news', 'one'), 2);
    equal(await r.publish('newt', 'two'), 1);
    equal(await r.publish('new', 'to nobody'), 0);
    await events.next(['message', 'news', 'one'], ['pmessage', 'new?', 'news', 'one'], ['pmessage', 'new?', 'newt', 'two']);
    equal(await s.punsubscribe('new?'), 1);
    s.on('messageBuffer', (channel, message) => events.push('bytes', channel.toString(), message));
    equal(await r.publish('news', allBytes), 1);
    await events.next(['message', 'news', allBytes.toString()], ['bytes', 'news', allBytes]);
    equal(await s.unsubscribe('news'), 0);
    equal(await r.publish('news', 'nobody'), 0);
    equal(await s.ssubscribe('shard'), 1);
    equal([await r.publish('shard', 'to nobody'), await r.spublish('shard', 'one')], [0, 1]);
    await events.next(['smessage', 'shard', 'one']);
    equal(await s.sunsubscribe('shard'), 0);
    equal(await r.spublish('shard', 'nobody'), 0);
    s.disconnect();
  },

  async 'unix-socket'() {
    const u = connect(socket);
    equal(await u.incr('unix'), 1);
    equal(await r.get('unix'), '1');
    u.disconnect();
  },

  async reconnect() {
    const s = connect(port);
    const events = new Events();
    s.on('message', (...words) => events.push(...words));
    equal(await s.subscribe('renewed'), 1);
    equal(await r.incrby('reconnect', 10), 10);
    await restartServer();
    equal(await r.incr('reconnect'), 11);
    await until(() => r.publish('renewed', 'after'), 1);
    await events.next(['renewed', 'after']);
  },
});
