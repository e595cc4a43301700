import type { LoadPlan } from '../load/load-plan.ts';
import { createHttpLanes } from '../wire/http/http-lane.ts';
import { ResponseParser } from '../wire/http/response-parser.ts';
import { CallBench } from './call-bench.ts';
import { deafLoop, openLane, SilentSink } from './deaf-loop.ts';

/** Answers as Nereid's HTTP engines write them, read whole and in pieces; a streamed answer, by its chunks; and all that a lane does for a request, but for the system calls. */
const CALLS = 1000;

const body = `{"model_name":"simple","model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"INT32","shape":[1,16],"data":[${Array.from({ length: 16 }, (_, i) => i * 3)}]}]}`;
const uws = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
const date = 'Date: Sat, 21 Nov 2026 03:00:00 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n';
const node = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n${date}\r\n${body}`);
const triton = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nInference-Header-Content-Length: ${body.length - 64}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);
const large = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: 65000\r\n\r\n${'x'.repeat(65_000)}`);
const chunk = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" a"}}]}\n\n`;
const chunkBytes = Buffer.from(`${chunk.length.toString(16)}\r\n${chunk}\r\n`);
const streamHead = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n${date}Transfer-Encoding: chunked\r\n\r\n`);

const parser = new ResponseParser(null);

function answers(pieces: readonly Buffer[]): () => number {
  return () => {
    let done = 0;
    for (let i = 0; i < CALLS; i++) {
      parser.begin(false);
      for (let j = 0; j < pieces.length; j++) parser.parse(pieces[j]!, 0, pieces[j]!.length);
      done += parser.isDone ? parser.status : Number.NaN;
    }
    return done;
  };
}

let heard = 0;
const listening = new ResponseParser({
  onBody: (_bytes, from, to) => {
    heard += to - from;
  },
});

const X = new Uint8Array(64);
const request = {
  modelName: 'simple',
  modelVersion: '',
  id: '',
  parameters: {},
  inputs: [{ name: 'INPUT0', datatype: 'INT32' as const, shape: [1, 16], data: X }],
  outputs: [],
  json: false,
};
const plan: LoadPlan = {
  protocol: 'http-binary',
  target: { host: '127.0.0.1', port: 8000, basePath: '', tls: null, headers: {} },
  requests: [{ infer: request, text: null, expected: null }],
  connections: 1,
  timeoutMs: 1000,
  deadlineMs: 0,
  sendsDeadline: false,
  sequence: { minLength: 3, maxLength: 3, firstId: 1_000_000_000 },
  validation: { every: 0, outputs: [], isDeterministic: false },
  firstTokenMs: 0,
  perTokenMs: 0,
  seed: 1,
  sockets: 'node',
};
const stamp = { id: 1_000_000_000, isStart: true, isEnd: false };

async function requests(stamped: boolean): Promise<() => number> {
  const sink = new SilentSink();
  const { lane, handler } = await openLane(createHttpLanes(plan), deafLoop(), sink);
  return () => {
    for (let i = 0; i < CALLS; i++) {
      stamp.id++;
      lane.send(0, 0, stamped ? stamp : null, false, 0);
      handler.onBytes(node, node.length);
    }
    return sink.ok;
  };
}

await new CallBench('HTTP answers')
  .add(`uWebSockets.js, ${uws.length} bytes`, CALLS, answers([uws]))
  .add(`node:http, ${node.length} bytes`, CALLS, answers([node]))
  .add(`Triton binary, ${triton.length} bytes`, CALLS, answers([triton]))
  .add('65 kB in one read', CALLS, answers([large]))
  .add('node:http, cut within a header', CALLS, answers([node.subarray(0, 60), node.subarray(60)]))
  .add('node:http, cut within the body', CALLS, answers([node.subarray(0, 200), node.subarray(200)]))
  .add(`a chunk of ${chunk.length} bytes of a stream`, CALLS, () => {
    listening.begin(false);
    listening.parse(streamHead, 0, streamHead.length);
    for (let i = 0; i < CALLS; i++) listening.parse(chunkBytes, 0, chunkBytes.length);
    return heard;
  })
  .add('request and answer over a lane', CALLS, await requests(false))
  .add('the same in a sequence', CALLS, await requests(true))
  .run();
