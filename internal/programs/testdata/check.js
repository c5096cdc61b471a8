'use strict';
// Checks of one program: a line for each, and their number at the end.

const { isDeepStrictEqual, inspect } = require('node:util');

const PORT = Number(process.env.PORT);
const HAS_SCRIPTING = process.env.SERVER === 'redis';
let passed = 0;

function check(name, got, want) {
  if (!isDeepStrictEqual(got, want)) {
    console.log(`FAIL ${name}: ${inspect(got)}, expected ${inspect(want)}`);
    process.exit(1);
  }
  passed++;
  console.log(`ok ${name}`);
}

// A feature that needs Lua: it works with Redis, and with Quipu the program sees this error.
async function checkScripting(name, call, want, error) {
  if (HAS_SCRIPTING) {
    check(`${name} (scripting)`, await call(), want);
    return;
  }
  const got = await call().then(() => 'no error', (e) => `${e.constructor.name}: ${e.message}`);
  check(`${name} (scripting)`, got.startsWith(error) ? error : got, error);
}

function done() {
  console.log(`done ${passed}`);
}

module.exports = { PORT, HAS_SCRIPTING, check, checkScripting, done };
