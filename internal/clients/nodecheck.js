// What the programs for Node.js share: see doc.go for what they print.
'use strict';

const assert = require('node:assert');
const readline = require('node:readline');

const [port, socket, authPort] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** equal compares deeply, also types. */
function equal(got, expected) {
  assert.deepStrictEqual(got, expected);
}

/** rejects demands a rejection by the class kind with a message that begins with text. */
async function rejects(promise, kind, text) {
  let error;
  try {
    const got = await promise;
    assert.fail(`got ${JSON.stringify(got)}, expected ${kind.name}: ${text}`);
  } catch (e) {
    error = e;
  }
  equal(error.message.slice(0, text.length), text);
  equal([error.message, error instanceof kind], [error.message, true]);
}

/** restartServer has the server killed and started again. */
async function restartServer() {
  console.log('restart');
  await stdin.next();
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Events are what a subscriber hears; next answers them one by one. */
class Events {
  #heard = [];
  #wake = () => {};

  push(...event) {
    this.#heard.push(event);
    this.#wake();
  }

  /** next demands the events, in this order. */
  async next(...expected) {
    for (const event of expected) {
      const timeout = sleep(20000).then(() => assert.fail(`nothing is heard, expected ${event}`));
      while (!this.#heard.length) await Promise.race([new Promise((resolve) => (this.#wake = resolve)), timeout]);
      timeout.catch(() => {});
      equal(this.#heard.shift(), event);
    }
  }
}

/** until waits until ask answers what is expected. */
async function until(ask, expected) {
  let got;
  for (const end = Date.now() + 20000; Date.now() < end; await sleep(5)) {
    if ((got = await ask()) === expected) return;
  }
  equal(got, expected);
}

const allBytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

/** run calls the checks, an object of functions by name, one after another, and ends the process. */
async function run(checks) {
  const names = Object.keys(checks);
  for (const name of names) {
    try {
      await checks[name]();
      console.log('ok ' + name);
    } catch (e) {
      console.log(`FAIL ${name}: ${e.name}: ${e.message}`.replace(/\n/g, ' '));
    }
  }
  process.stdout.write(`done ${names.length}\n`, () => process.exit());
}

module.exports = { port, socket, authPort, equal, rejects, restartServer, sleep, Events, until, allBytes, run };
