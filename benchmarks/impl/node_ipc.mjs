// node-ipc 9 and 14, the same code for both: `package` is the path of the module, `profile` is 14's parser.
// The part in a run is the one that role.py describes.

import { readSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [role, ...pairs] = process.argv.slice(2);
const plan = {
  kind: 'echo', transport: 'unix', messages: 1, warmup: 0, size: 64, shape: 'text', window: 1, connections: 1,
  mode: 'burst', profile: 'fast',
};
for (const pair of pairs) {
  const at = pair.indexOf('=');
  const value = pair.slice(at + 1);
  plan[pair.slice(0, at)] = /^\d+$/.test(value) ? Number(value) : value;
}
const passes = [plan.warmup, plan.messages].filter(Boolean);

const ipc = (await import(pathToFileURL(plan.package))).default;
Object.assign(ipc.config, {
  silent: true, maxConnections: 4096, parser: plan.profile, maxMessageSize: 2 ** 28, maxPendingBytes: 2 ** 29,
  networkHost: plan.host, networkPort: plan.port,
});

const text = 'x'.repeat(Math.max(1, plan.size - 24));
const rows = Array.from({ length: Math.max(1, Math.floor(plan.size / 88)) }, (_, i) => ({
  key: i, name: `record ${String(i).padStart(6, '0')}`, value: i * 0.25, active: true, tags: ['alpha', 'beta'],
}));
const records = plan.shape === 'records';
const make = records ? (n) => ({ n, rows }) : (n) => ({ n, text });
const wrong = records
  ? (data, n) => data.n !== n || data.rows.length !== rows.length
  : (data, n) => data.n !== n || data.text.length !== text.length;

// A pipe may take less than a long line of latencies in one go, and waitForLine blocks the loop that would write the
// rest: so whoever waits has awaited this first.
function say(result) {
  return new Promise((written) => { process.stdout.write(`${JSON.stringify(result)}\n`, written); });
}

function waitForLine() {
  readSync(0, Buffer.alloc(64));
}

function fail(reason) {
  say({ error: reason }).then(() => process.exit(1));
}

function check(data, n) {
  if (wrong(data, n)) fail(`message ${n} was expected, not ${JSON.stringify(data).slice(0, 80)}`);
}

// ---- server ----

function serve() {
  const { transport } = plan;
  if (transport === 'unix') ipc.serve(plan.path, () => say({ ready: true }));
  else if (transport === 'udp') ipc.serveNet(plan.host, plan.port, 'udp4', () => say({ ready: true }));
  else ipc.serveNet(plan.host, plan.port, () => say({ ready: true }));
  if (transport === 'tls') ipc.config.tls = { private: plan.key, public: plan.cert };
  ({ oneway: count, broadcast: announce, udp: tally }[plan.kind] ?? echo)();
  ipc.server.on('error', (error) => fail(String(error)));
  ipc.server.start();
}

function echo() {
  ipc.server.on('message', (data, socket) => ipc.server.emit(socket, 'message', data));
}

function count() {
  const remaining = [...passes];
  let expected = 0;
  ipc.server.on('message', (data, socket) => {
    check(data, expected);
    expected += 1;
    if (expected < remaining[0]) return;
    expected = 0;
    remaining.shift();
    ipc.server.emit(socket, 'message', make(0));
  });
}

function announce() {
  const remaining = [...passes];
  // Begins once every client that has connected was accepted.
  const go = () => {
    if (ipc.server.sockets.length < plan.connections) {
      setImmediate(go);
      return;
    }
    const messages = remaining.shift();
    if (plan.mode === 'burst') {
      for (let n = 0; n < messages; n += 1) ipc.server.broadcast('message', make(n));
      return;
    }
    const turn = (n) => {
      ipc.server.broadcast('message', make(n));
      if (n + 1 < messages) setImmediate(turn, n + 1);
    };
    turn(0);
  };
  ipc.server.on('message', go);
}

function tally() {
  let received = 0, doubled = 0, last = -1, began = 0, ended = 0;
  ipc.server.on('message', (data) => {
    ended = performance.now();
    began ||= ended;
    received += 1;
    if (data.n <= last) doubled += 1;
    last = data.n;
  });
  ipc.server.on('report', (data, socket) => {
    ipc.server.emit(socket, 'report', { received, wrong: doubled, seconds: (ended - began) / 1000 });
  });
}

// ---- client ----

function connect(number) {
  return new Promise((resolve) => {
    const id = `client${number}`;
    const connected = () => {
      const client = ipc.of[id];
      client.on('connect', () => resolve(client));
      client.on('error', (error) => fail(String(error)));
      client.on('message', (data) => client.lane(data));
    };
    if (plan.transport === 'unix') ipc.connectTo(id, plan.path, connected);
    else ipc.connectToNet(id, plan.host, plan.port, connected);
  });
}

// One pass over all connections; the promise ends when the last message is back.
function pass(clients, messages, latencies) {
  return new Promise((resolve) => {
    let open = clients.length;
    const done = () => { open -= 1; if (!open) resolve(); };
    if (plan.kind === 'oneway') return oneWay(clients[0], messages, done);
    if (plan.kind === 'roundtrip') return roundTrips(clients[0], messages, latencies, done);
    if (plan.kind === 'broadcast') return listen(clients, messages, done);
    return echoes(clients, Math.max(1, Math.floor(messages / clients.length)), done);
  });
}

function oneWay(client, messages, done) {
  client.lane = done;
  const slice = (from) => {
    const to = Math.min(messages, from + 1000);
    for (let n = from; n < to; n += 1) client.emit('message', make(n));
    if (to < messages) setImmediate(slice, to);
  };
  slice(0);
}

function roundTrips(client, messages, latencies, done) {
  let n = 0;
  let began;
  client.lane = (data) => {
    latencies.push(Math.round((performance.now() - began) * 1e6));
    check(data, n);
    n += 1;
    if (n === messages) return done();
    began = performance.now();
    client.emit('message', make(n));
  };
  began = performance.now();
  client.emit('message', make(0));
}

function listen(clients, messages, done) {
  for (const client of clients) {
    let expected = 0;
    client.lane = (data) => {
      check(data, expected);
      expected += 1;
      if (expected === messages) done();
    };
  }
  clients[0].emit('message', make(0));
}

function echoes(clients, messages, done) {
  const window = Math.min(messages, Math.max(1, Math.floor(plan.window / clients.length)));
  for (const client of clients) {
    let expected = 0;
    let following = window;
    client.lane = (data) => {
      check(data, expected);
      expected += 1;
      if (following < messages) client.emit('message', make(following++));
      else if (expected === messages) done();
    };
  }
  for (const client of clients) {
    for (let n = 0; n < window; n += 1) client.emit('message', make(n));
  }
}

async function drive() {
  if (plan.transport === 'tls') {
    ipc.config.tls = { trustedConnections: plan.ca, rejectUnauthorized: true };
  }
  const clients = [];
  for (let number = 0; number < plan.connections; number += 1) clients.push(await connect(number));
  if (plan.warmup) await pass(clients, plan.warmup, []);
  if (plan.kind !== 'first') {
    await say({ ready: true });
    waitForLine();
  }
  const latencies = [];
  const began = performance.now();
  if (plan.kind !== 'idle') await pass(clients, plan.messages, latencies);
  await say({ seconds: (performance.now() - began) / 1000, messages: plan.messages, latencies });
  waitForLine();
  process.exit(0);
}

// UDP: pause for a turn after every 32 datagrams, then ask until the receiver says what it saw.
function sendDatagrams() {
  const server = { address: plan.host, port: plan.port };
  ipc.config.id = 'sender';
  ipc.serveNet(plan.host, plan.reply_port, 'udp4', async () => {
    await say({ ready: true });
    waitForLine();
    const slice = (from) => {
      const to = Math.min(plan.messages, from + 32);
      for (let n = from; n < to; n += 1) ipc.server.emit(server, 'message', make(n));
      if (to < plan.messages) setImmediate(slice, to);
      else setInterval(() => ipc.server.emit(server, 'report', make(0)), 50);
    };
    slice(0);
  });
  ipc.server.on('report', async (seen) => {
    if (seen.wrong) fail(`${seen.wrong} datagrams came twice or out of order`);
    await say({ seconds: seen.seconds, messages: seen.received, lost: plan.messages - seen.received });
    waitForLine();
    process.exit(0);
  });
  ipc.server.start();
}

if (role === 'server') serve();
else if (plan.kind === 'udp') sendDatagrams();
else await drive();
