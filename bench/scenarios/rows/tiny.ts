/** A model of 2 us: what is measured is all that is around it. Rows 1 and 2 of the scoreboard. */

import { tinyRequests } from '../requests.ts';
import type { Scenario } from '../scenario.ts';
import { echo, empty, HOSTED, INLINE, INLINE_NODE, type Load, latency, nereid, processorTime, throughput } from './contenders.ts';

const binary = (concurrency: number): Load => ({ protocol: 'http-binary', requests: tinyRequests('binary'), concurrency });
const json = (concurrency: number): Load => ({ protocol: 'http-json', requests: tinyRequests('json'), concurrency });
const grpc = (concurrency: number, connections: number): Load => ({
  protocol: 'grpc',
  requests: tinyRequests('binary'),
  concurrency,
  connections,
});
const stream = (concurrency: number): Load => ({
  protocol: 'grpc-stream',
  requests: tinyRequests('binary'),
  concurrency,
  connections: 1,
});
const webSocket = (concurrency: number): Load => ({ protocol: 'websocket-binary', requests: tinyRequests('binary'), concurrency });
/** Bytes of a binary request of the tiny model and of its answer, about. */
const SMALL_BYTES = 400;

export const tinyHttp: Scenario = {
  name: 'tiny-http',
  title: 'Tiny model over HTTP, one core',
  about:
    'Sum and difference of two vectors of 16 integers, 32 requests in flight, server and model on one core. The control is the HTTP engine itself, which reads the body and answers with the same bytes.',
  cores: 'one',
  models: ['tiny'],
  seconds: 0,
  contenders: [
    empty('empty uws, binary', 'uws', INLINE, binary(32)),
    nereid('HTTP binary', INLINE, binary(32)),
    nereid('HTTP JSON', INLINE, json(32)),
    empty('empty uws, JSON', 'uws', INLINE, json(32)),
    empty('empty node:http, binary', 'node', INLINE, binary(32)),
    nereid('HTTP binary, --http-engine=node', INLINE_NODE, binary(32)),
  ],
  ratios: [
    throughput('HTTP binary / empty uws', { of: 'HTTP binary', to: 'empty uws, binary', inGate: true }, 0.6),
    processorTime('HTTP binary / empty uws', { of: 'HTTP binary', to: 'empty uws, binary', inGate: true }),
    processorTime('HTTP JSON / empty uws', { of: 'HTTP JSON', to: 'empty uws, JSON', inGate: true }),
    throughput('HTTP JSON / empty uws', { of: 'HTTP JSON', to: 'empty uws, JSON', inGate: true }, null),
    throughput(
      'HTTP binary on node:http / empty node:http',
      { of: 'HTTP binary, --http-engine=node', to: 'empty node:http, binary' },
      null,
    ),
  ],
};

export const tinyProcess: Scenario = {
  name: 'tiny-process',
  title: 'Tiny model in a process of its own',
  about: 'The same with 64 requests in flight, where the model runs in an execution host, as the server comes; nobody is kept on a core.',
  cores: 'any',
  models: ['tiny'],
  seconds: 0,
  contenders: [empty('empty uws', 'uws', HOSTED, binary(64)), nereid('process', HOSTED, binary(64)), nereid('inline', INLINE, binary(64))],
  ratios: [
    throughput('process / empty uws, c=64', { of: 'process', to: 'empty uws' }, 0.5),
    throughput('process / inline, c=64', { of: 'process', to: 'inline' }, 0.95),
  ],
};

export const tinyGrpc: Scenario = {
  name: 'tiny-grpc',
  title: 'Tiny model over gRPC, one core',
  about:
    'Unary calls, 32 in flight over 4 connections, and one stream with 64 messages in flight. The controls are a handler on node:http2 itself, the best gRPC stack that Node has, and one of grpc-js.',
  cores: 'one',
  models: ['tiny'],
  seconds: 0,
  contenders: [
    empty('empty http2, c=32', 'http2', INLINE, grpc(32, 4)),
    nereid('gRPC, c=32', INLINE, grpc(32, 4)),
    empty('empty grpc-js, c=32', 'grpc-js', INLINE, grpc(32, 4)),
    nereid('gRPC, 1 connection, c=64', INLINE, grpc(64, 1)),
    nereid('gRPC stream, 64 in flight', INLINE, stream(64)),
  ],
  ratios: [
    throughput('gRPC / empty http2', { of: 'gRPC, c=32', to: 'empty http2, c=32', inGate: true }, 0.7),
    processorTime('gRPC / empty http2', { of: 'gRPC, c=32', to: 'empty http2, c=32', inGate: true }),
    throughput('gRPC / empty grpc-js', { of: 'gRPC, c=32', to: 'empty grpc-js, c=32' }, 0.6),
    throughput('stream of 64 / unary c=64', { of: 'gRPC stream, 64 in flight', to: 'gRPC, 1 connection, c=64' }, 1.5),
  ],
};

export const tinyWebSocket: Scenario = {
  name: 'tiny-websocket',
  title: 'Tiny model over WebSocket, one core',
  about:
    'Binary messages, 32 in flight over 4 connections, beside a handler on uWebSockets.js that copies the id into the same answer, and beside the same requests over HTTP.',
  cores: 'one',
  models: ['tiny'],
  seconds: 0,
  contenders: [
    empty('empty WebSocket', 'websocket', INLINE, webSocket(32)),
    nereid('WebSocket binary', INLINE, webSocket(32)),
    nereid('HTTP binary', INLINE, binary(32)),
  ],
  ratios: [
    throughput('WebSocket / empty WebSocket', { of: 'WebSocket binary', to: 'empty WebSocket', inGate: true }, null),
    processorTime('WebSocket / empty WebSocket', { of: 'WebSocket binary', to: 'empty WebSocket', inGate: true }),
    throughput('WebSocket / HTTP binary', { of: 'WebSocket binary', to: 'HTTP binary' }, 1),
  ],
};

export const tinyLatency: Scenario = {
  name: 'tiny-latency',
  title: 'Tiny model, one request at a time',
  about: `Median latency of one connection with one request in flight, beside the empty handlers and beside blocking calls that send ${SMALL_BYTES} bytes to another process and get as many back.`,
  cores: 'one',
  models: ['tiny'],
  seconds: 0,
  contenders: [
    echo('blocking echo', SMALL_BYTES, SMALL_BYTES),
    empty('empty uws', 'uws', INLINE, binary(1)),
    nereid('HTTP binary', INLINE, binary(1)),
    nereid('HTTP JSON', INLINE, json(1)),
    empty('empty http2', 'http2', INLINE, grpc(1, 1)),
    nereid('gRPC', INLINE, grpc(1, 1)),
    empty('empty WebSocket', 'websocket', INLINE, webSocket(1)),
    nereid('WebSocket binary', INLINE, webSocket(1)),
  ],
  ratios: [
    latency('HTTP binary / empty uws, p50', { of: 'HTTP binary', to: 'empty uws' }, 1.15),
    latency('HTTP binary / blocking echo, p50', { of: 'HTTP binary', to: 'blocking echo' }, null),
    latency('gRPC / empty http2, p50', { of: 'gRPC', to: 'empty http2' }, 1.15),
    latency('WebSocket / empty WebSocket, p50', { of: 'WebSocket binary', to: 'empty WebSocket' }, 1.15),
  ],
};
