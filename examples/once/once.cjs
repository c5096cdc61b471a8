// Counts with node-redis so that each call counts exactly once, although nodes fail: a command is sent again, with the same
// number and through the next node, until there is an answer.
//
//   node once.cjs me visits 1000 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003

const { createClient, ErrorReply } = require('redis');

const again = /^(UNKNOWN|TRYAGAIN|CLUSTERDOWN|LOADING|MISCONF) /;

// Producer numbers its commands. Only one process uses its name at a time: who opens it later shuts the others out.
class Producer {
  static async open(name, addresses) {
    const p = new Producer();
    Object.assign(p, { name, addresses, at: 0, number: 0, client: null });
    p.epoch = await p.ask('ONCE', 'OPEN', name);
    return p;
  }

  // do carries out a command once.
  do(...command) {
    return this.ask('ONCE', this.name, String(this.epoch), String(++this.number), ...command);
  }

  // ask sends a command until there is an answer.
  async ask(...command) {
    for (;;) {
      try {
        if (!this.client) {
          const client = createClient({ url: `redis://${this.addresses[this.at]}`, disableOfflineQueue: true, socket: { reconnectStrategy: false, connectTimeout: 2000 } });
          client.on('error', () => {}); // ask sees it as well
          this.client = client;
          await client.connect();
        }
        return await this.client.sendCommand(command);
      } catch (e) {
        if (e instanceof ErrorReply && !again.test(e.message)) throw e;
        this.close();
        this.at = (this.at + 1) % this.addresses.length;
        await new Promise((done) => setTimeout(done, 20));
      }
    }
  }

  close() {
    if (this.client?.isOpen) this.client.destroy();
    this.client = null;
  }
}

async function main([name, key, count, ...addresses]) {
  const producer = await Producer.open(name, addresses);
  let last;
  for (let i = 0; i < Number(count); i++) last = await producer.do('INCR', key);
  console.log(last);
  producer.close();
}

main(process.argv.slice(2));
