// node-redis's helpers for sketches, client.cms and client.topK, unchanged.
'use strict';

const { createClient, ErrorReply } = require('redis');
const { port, equal, rejects, run } = require('../nodecheck.js');

/** connect opens a client of a protocol; without a listener for errors, losing a connection would end the process. */
async function connect(RESP) {
  return createClient({ socket: { port }, RESP }).on('error', () => {}).connect();
}

async function countMin(client, name) {
  equal(await client.cms.initByDim(name, 1000, 5), 'OK');
  equal(await client.cms.incrBy(name, [{ item: 'foo', incrementBy: 5 }, { item: 'bar', incrementBy: 7 }]), [5, 7]);
  equal(await client.cms.query(name, ['foo', 'bar', 'nope']), [5, 7, 0]);
  const [other, both] = [`${name}:b`, `${name}:c`];
  equal(await client.cms.initByProb(other, 0.001, 0.01), 'OK');
  const { width, depth, count } = await client.cms.info(other);
  equal([width, depth, count], [2000, 7, 0]);
  await rejects(client.cms.merge(name, [other]), ErrorReply, 'CMS: width/depth is not equal');
  equal(await client.cms.initByDim(both, 1000, 5), 'OK');
  equal(await client.cms.merge(both, [{ name, weight: 1 }, { name, weight: 10 }]), 'OK');
  equal(await client.cms.query(both, ['foo', 'bar']), [55, 77]);
  equal(await client.cms.merge(both, [name]), 'OK');
  equal(await client.cms.query(both, 'foo'), [5]);
  await rejects(client.cms.initByDim(name, 1000, 5), ErrorReply, 'CMS: key already exists');
  await rejects(client.cms.query(`${name}:none`, 'foo'), ErrorReply, 'CMS: key does not exist');
}

async function topK(client, name) {
  equal(await client.topK.reserve(name, 3, { width: 50, depth: 4, decay: 0.9 }), 'OK');
  equal(await client.topK.add(name, ['A', 'B', 'C']), [null, null, null]);
  const nine = { item: 'A', incrementBy: 9 };
  equal(await client.topK.incrBy(name, [nine, { item: 'B', incrementBy: 5 }, { item: 'C', incrementBy: 3 }]), [null, null, null]);
  equal(await client.topK.incrBy(name, [{ item: 'D', incrementBy: 7 }, { item: 'E', incrementBy: 1 }]), ['C', null]);
  equal(await client.topK.query(name, ['A', 'C']), [true, false]);
  equal(await client.topK.count(name, ['A', 'B', 'C', 'nope']), [10, 6, 4, 0]);
  equal(await client.topK.list(name), ['A', 'D', 'B']);
  equal(await client.topK.listWithCount(name), [{ item: 'A', count: 10 }, { item: 'D', count: 7 }, { item: 'B', count: 6 }]);
  const { k, width, depth, decay } = await client.topK.info(name);
  equal([k, width, depth, decay], [3, 50, 4, 0.9]);
  await rejects(client.topK.list(`${name}:none`), ErrorReply, 'TopK: key does not exist');
}

async function main() {
  const [two, three] = [await connect(2), await connect(3)];
  await run({
    'count-min': () => countMin(three, 'cms'),
    'count-min-resp2': () => countMin(two, 'cms2'),
    'top-k': () => topK(three, 'topk'),
    'top-k-resp2': () => topK(two, 'topk2'),
  });
}

main();
