'use strict';
// Rate limiters of Node.js: rate-limiter-flexible, and express-rate-limit with rate-limit-redis.

const Redis = require('ioredis');
const { createClient } = require('redis');
const { RateLimiterRedis, RateLimiterRedisNonAtomic } = require('rate-limiter-flexible');
const { RedisStore } = require('rate-limit-redis');
const { rateLimit } = require('express-rate-limit');
const { PORT, HAS_SCRIPTING, check, checkScripting, done } = require('./check.js');

// What consuming n points one after the other says: how many are left, or that there are none.
async function consume(limiter, key, n) {
  const left = [];
  for (let i = 0; i < n; i++) {
    await limiter.consume(key).then(
      (r) => left.push(r.remainingPoints),
      (r) => { if (r instanceof Error) throw r; left.push('refused'); },
    );
  }
  return left;
}

async function flexible(name, client, options) {
  const limiter = new RateLimiterRedisNonAtomic({ storeClient: client, keyPrefix: name, points: 3, duration: 3600, ...options });
  check(`${name}: consume`, await consume(limiter, 'ann', 5), [2, 1, 0, 'refused', 'refused']);
  check(`${name}: another key`, await consume(limiter, 'bob', 1), [2]);
  const state = await limiter.get('ann');
  check(`${name}: get`, [state.consumedPoints, state.remainingPoints, state.msBeforeNext > 3590000], [5, 0, true]);
  check(`${name}: reward`, (await limiter.reward('ann', 4)).consumedPoints, 1);
  check(`${name}: penalty`, (await limiter.penalty('ann', 2)).consumedPoints, 3);
  check(`${name}: set`, (await limiter.set('ann', 2, 60)).consumedPoints, 2);
  check(`${name}: set took effect`, await consume(limiter, 'ann', 2), [0, 'refused']);
  await limiter.block('eve', 60);
  check(`${name}: block`, await consume(limiter, 'eve', 1), ['refused']);
  check(`${name}: delete`, [await limiter.delete('eve'), await limiter.get('eve')], [true, null]);

  const atomic = new RateLimiterRedis({ storeClient: client, keyPrefix: `${name}-atomic`, points: 2, duration: 3600, ...options });
  await checkScripting(`${name}: RateLimiterRedis`, () => consume(atomic, 'ann', 3), [1, 0, 'refused'], `SimpleError: ERR unknown command '${options.useRedisPackage ? 'EVAL' : 'eval'}'`);
}

// The middleware as express calls it, without a network between.
async function request(middleware) {
  const response = { statusCode: 200, setHeader() {}, status(code) { this.statusCode = code; return this; }, send() { this.end(); } };
  await new Promise((resolve, reject) => {
    response.end = resolve;
    middleware({ ip: '10.0.0.1', headers: {}, app: { get: () => false } }, response, (e) => (e ? reject(e) : resolve()));
  });
  return response.statusCode;
}

async function express(client) {
  // express-rate-limit reports on standard error that the store could not load its scripts.
  const said = [];
  console.error = (...args) => said.push(args.join(' '));
  const store = new RedisStore({ sendCommand: (...args) => client.sendCommand(args) });
  const middleware = rateLimit({ windowMs: 3600000, limit: 2, store, validate: false });
  const statuses = async () => [await request(middleware), await request(middleware), await request(middleware)];
  await checkScripting('rate-limit-redis: requests', statuses, [200, 200, 429], "SimpleError: ERR unknown subcommand 'LOAD'. Try SCRIPT HELP.");
  check('rate-limit-redis: reports', said.map((text) => text.includes("unknown subcommand 'LOAD'")), HAS_SCRIPTING ? [] : [true]);
}

async function main() {
  const ioredis = new Redis(PORT);
  await ioredis.flushall();
  const redis = await createClient({ socket: { port: PORT } }).connect();
  await flexible('ioredis', ioredis, {});
  await flexible('node-redis', redis, { useRedisPackage: true });
  await express(redis);
  await ioredis.quit();
  await redis.close();
  done();
}

main();
