/* New prices by Server-Sent Events: one connection for all tabs, because browsers open only six
   HTTP/1.1 connections to a host. A shared worker, whose script is this file too, has the connection;
   without shared workers each visible tab has its own. The connection is a fetch, because an
   EventSource hides comments, which show that it is alive, and the reason of a refusal.
   Source: the HTML standard, sections 9.2 and 10.2.6.4. */

const FIRST_DELAY = 1000; // milliseconds before the first reconnection
const MAX_DELAY = 15_000;
const CHECK_PERIOD = 5000;
const MAX_SILENCE = 45_000; // the server sends a comment after 15 seconds without an event
const MAX_WORKER_SILENCE = 2 * MAX_SILENCE;

/* The prices of *url*. on.price(price); on.open(); on.lost(reason or null);
   on.reset(): shown data must be fetched again; on.alive(): data has arrived */
export class PriceStream {
  #url;
  #on;
  #end = () => {};
  #receivedAt = 0;

  constructor(url, on) {
    this.#url = `${url}`;
    this.#on = on;
    this.#start();
    setInterval(() => this.#check(), CHECK_PERIOD);
  }

  #start() {
    this.#receivedAt = Date.now();
    try {
      this.#share();
    } catch {
      this.#connect(); // shared workers do not exist here, or are forbidden
    }
  }

  #share() {
    const worker = new SharedWorker(import.meta.url, { name: this.#url, type: "module" });
    this.#end = () => worker.port.close();
    worker.addEventListener("error", () => this.#connect()); // the script is not available
    worker.port.addEventListener("message", ({ data }) => this.#receive(data));
    worker.port.start();
  }

  #connect() {
    const connection = new Connection(this.#url, (message) => this.#receive(message));
    const follow = () => (document.hidden ? connection.stop() : connection.start());
    follow();
    document.addEventListener("visibilitychange", follow);
    this.#end = () => {
      document.removeEventListener("visibilitychange", follow);
      connection.stop();
    };
  }

  #receive({ type, data }) {
    this.#receivedAt = Date.now();
    this.#on[type](data);
  }

  /* Start again if the worker has ended, or this tab was frozen. */
  #check() {
    if (document.hidden || Date.now() - this.#receivedAt < MAX_WORKER_SILENCE) return;
    this.#end();
    this.#start();
    this.#on.reset();
  }
}

/* A connection that is opened again after the last received event, until stop(). The delay is an
   exponential back-off with jitter, which keeps clients from reconnecting together. */
class Connection {
  #url;
  #send;
  #stop = null;
  #lastId = null;
  #wasOpen = false;

  /* send({type, data}): type and argument of PriceStream's callbacks */
  constructor(url, send) {
    this.#url = url;
    this.#send = (type, data = null) => send({ type, data });
  }

  stop() {
    this.#stop?.abort();
    this.#stop = null;
  }

  async start() {
    if (this.#stop) return;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    for (let delay = FIRST_DELAY; !signal.aborted; delay = Math.min(delay * 2, MAX_DELAY)) {
      const opened = () => (delay = FIRST_DELAY);
      const reason = await this.#read(signal, opened).catch(() => null);
      if (signal.aborted) return;
      this.#send("lost", reason);
      await new Promise((resolve) => setTimeout(resolve, delay * (0.75 + Math.random() / 2)));
    }
  }

  /* Send the events until the connection ends. Returns the reason of a refusal, or null. */
  async #read(stopped, onOpen) {
    const silent = new AbortController();
    let receivedAt = Date.now();
    const timer = setInterval(() => {
      if (Date.now() - receivedAt > MAX_SILENCE) silent.abort(); // also after the computer slept
    }, CHECK_PERIOD);
    try {
      const headers = this.#lastId ? { "Last-Event-ID": this.#lastId } : {};
      const signal = AbortSignal.any([stopped, silent.signal]);
      const response = await fetch(this.#url, { headers, cache: "no-store", signal });
      if (!response.ok) return await this.#refusal(response);
      onOpen();
      this.#open();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { value, done } = await reader.read();
        if (done) return null;
        receivedAt = Date.now();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        blocks.forEach((block) => this.#handle(block));
        this.#send("alive");
      }
    } finally {
      clearInterval(timer);
    }
  }

  async #refusal(response) {
    if (response.status === 400) this.#lastId = null; // the server does not know it
    const problem = await response.json().catch(() => ({}));
    return problem.detail ?? `status ${response.status}`;
  }

  #open() {
    this.#send("open");
    if (this.#wasOpen && !this.#lastId) this.#send("reset");
    this.#wasOpen = true;
  }

  /* block: the lines of one event, each a field or a comment */
  #handle(block) {
    const { id, event, data } = Object.fromEntries(
      block.split("\n").map((line) => line.split(/: ?(.*)/, 2)));
    if (id) this.#lastId = id;
    if (event === "price" || event === "reset") this.#send(event, JSON.parse(data));
  }
}

/* The shared worker: its name is the URL of the stream; a new tab first receives the state. */
if ("SharedWorkerGlobalScope" in globalThis) {
  const ports = new Set();
  let state = null;
  const connection = new Connection(self.name, (message) => {
    if (message.type === "open" || message.type === "lost") state = message;
    for (const port of ports) port.postMessage(message);
  });
  self.addEventListener("connect", ({ ports: [port] }) => {
    ports.add(port);
    port.addEventListener("close", () => ports.delete(port));
    port.start();
    if (state) port.postMessage(state);
  });
  connection.start();
}
