/**
 * The control of every load run: the same transport, the same route, the same answer bytes, and nothing in between. Whatever a server does more than this is
 * its own cost.  `node dist/bench/scenarios/empty-server.js <uws|node> <port>`
 */

import { chooseHttpEngine } from '../../server/transports/choose-http-engine.ts';

const [engine, port] = process.argv.slice(2);
const answer = Buffer.from(
  JSON.stringify({
    id: '1',
    model_name: 'simple',
    model_version: '1',
    outputs: ['OUTPUT0', 'OUTPUT1'].map((name) => ({
      name,
      datatype: 'INT32',
      shape: [1, 16],
      data: Array.from({ length: 16 }, (_, i) => i),
    })),
  }),
);
const headers = ['content-type', 'application/json'];
const { start } = await chooseHttpEngine(engine as 'uws' | 'node', null);
const transport = await start({
  host: '127.0.0.1',
  port: Number(port),
  routes: [
    {
      method: 'POST',
      pattern: '/v2/models/{model}/infer',
      requestHeaders: ['inference-header-content-length'],
      allowContentCoding: false,
      handle: (exchange) => exchange.respond(200, headers, answer),
    },
  ],
  webSockets: [],
  allowOrigins: [],
  errorBody: { contentType: 'text/plain', encode: (status, message) => `${status} ${message}` },
  maxBodyBytes: 64 * 2 ** 20,
  maxBufferedBodyBytes: 2 ** 30,
  maxHeaderBytes: 16_384,
  maxConnections: 10_000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 120_000,
  keepAliveTimeoutMs: 75_000,
  tls: null,
  onError: (error) => console.error(error),
});
process.once('SIGTERM', () => void transport.close().then(() => process.exit(0)));
