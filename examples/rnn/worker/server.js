// Counts visits in Redis and says who answered. Plain Node.js: no packages.
'use strict';

const http = require('http');
const net = require('net');
const os = require('os');

const PORT = Number(process.env.PORT || 3000);
const REDIS = { host: process.env.REDIS_HOST || 'redis', port: Number(process.env.REDIS_PORT || 6379) };
const COMMAND_TIMEOUT_MS = 2000;
const RETRY_MS = 200;

// The little of Redis' protocol that is needed here: commands go out as arrays of strings, and each gets one line
// back, in order. A connection that fails, or does not answer in time, is thrown away and made again: the address
// behind the service's name may be another one by now.
class Redis {
  constructor() {
    this.waiting = [];
    this.received = '';
    this.connect();
  }

  connect() {
    this.socket = net.connect({ ...REDIS, noDelay: true, keepAlive: true });
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text) => this.read(text));
    this.socket.on('error', (error) => { this.reason = error.message; });
    this.socket.on('close', () => this.closed());
  }

  closed() {
    const error = new Error(`Redis at ${REDIS.host}:${REDIS.port} does not answer: ${this.reason || 'closed'}`);
    this.waiting.splice(0).forEach((command) => command.reject(error));
    this.received = '';
    this.reason = undefined;
    setTimeout(() => this.connect(), RETRY_MS);
  }

  read(text) {
    this.received += text;
    let end;
    while ((end = this.received.indexOf('\r\n')) >= 0) {
      const line = this.received.slice(0, end);
      this.received = this.received.slice(end + 2);
      const command = this.waiting.shift();
      if (line[0] === '-') command.reject(new Error(`Redis refused: ${line.slice(1)}`));
      else command.resolve(line.slice(1));
    }
  }

  command(...words) {
    return new Promise((resolve, reject) => {
      const socket = this.socket;
      const timer = setTimeout(() => {
        this.reason = 'no answer in time';
        socket.destroy();
        reject(new Error(`Redis at ${REDIS.host}:${REDIS.port} does not answer: ${this.reason}`));
      }, COMMAND_TIMEOUT_MS);
      const settle = (settled) => (value) => { clearTimeout(timer); settled(value); };
      this.waiting.push({ resolve: settle(resolve), reject: settle(reject) });
      // Written while the connection is still being made, it is sent as soon as it stands.
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`);
    });
  }
}

const redis = new Redis();
const who = { worker: os.hostname() };
if (process.env.NODE_NAME && !process.env.NODE_NAME.includes('{{')) who.node = process.env.NODE_NAME;

function answer(response, status, body) {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

const server = http.createServer(async (request, response) => {
  // Whether this process is well, not whether Redis is: a worker is not to be replaced because Redis moves.
  if (request.url === '/healthz') return answer(response, 200, { ok: true });
  try {
    const visits = Number(await redis.command('INCR', 'visits'));
    return answer(response, 200, { visits, ...who });
  } catch (error) {
    return answer(response, 503, { error: error.message, ...who });
  }
});

server.listen(PORT, () => console.log(`worker ${who.worker} listens on ${PORT}, Redis is ${REDIS.host}:${REDIS.port}`));

// As process 1 a signal does nothing unless it is handled. Answers under way are finished first.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    setTimeout(() => process.exit(0), 5000).unref();
  });
}
