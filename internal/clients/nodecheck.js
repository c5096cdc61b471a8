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

module.exports = { port, socket, authPort, equal, rejects, restartServer, sleep, run };
