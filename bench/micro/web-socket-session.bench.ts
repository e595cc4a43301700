/**
 * All that the server does for an inference over WebSocket but its sockets and its model: from the message to the encoded answer. endpoints.bench.ts is the same over
 * REST. `node dist/bench/micro/web-socket-session.bench.js`
 */

import { BacklogBudget } from '../../server/protocols/websocket/message-backlog.ts';
import { WebSocketSession } from '../../server/protocols/websocket/web-socket-session.ts';
import type { WebSocketConnection } from '../../server/transports/web-socket.ts';
import { answeredContext } from './answered-context.ts';
import { COLUMNS, MAX_BATCH_SIZE, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const clock = new TickClock();
const context = await answeredContext(clock);

let answeredBytes = 0;
let answers = 0;

/** Counts what is sent. An error is text that no case expects. */
class CountingConnection implements WebSocketConnection {
  readonly unsentBytes = 0;
  readonly isClosed = false;

  sendText(text: string | Uint8Array): void {
    if (typeof text === 'string') throw new Error(`answered ${text}`);
    answers++;
    answeredBytes += text.length;
  }

  sendBinary(message: Uint8Array | readonly Uint8Array[]): void {
    answers++;
    for (let i = 0; i < message.length; i++) answeredBytes += (message[i] as Uint8Array).length;
  }

  pause(): void {}

  resume(): void {}

  close(_code: number, reason: string): void {
    throw new Error(`closed: ${reason}`);
  }
}

const session = new WebSocketSession(
  new CountingConnection(),
  context,
  { maxInflightRequests: 256, maxInflightBytes: 2 ** 26, maxUnsentBytes: 2 ** 26 },
  new BacklogBudget(0),
);

const bench = new CallBench('an inference over WebSocket without sockets and model, add_sub [1,16]');

/** `messages` differ in their ids. */
function addCase(what: string, messages: readonly Uint8Array[], isBinary: boolean): void {
  for (const perTick of [1, MAX_BATCH_SIZE]) {
    bench.add(`${what}, ${perTick} a tick`, COUNT, () => {
      const before = answers;
      for (let sent = 0; sent < COUNT; sent += perTick) {
        for (let i = 0; i < perTick; i++) {
          if (isBinary) session.onBinary(messages[i]!);
          else session.onText(messages[i]!);
        }
        clock.tick();
      }
      if (answers !== before + COUNT) throw new Error(`${answers - before} answers to ${COUNT} requests`);
      return answeredBytes;
    });
  }
}

const ids = Array.from({ length: MAX_BATCH_SIZE }, (_, i) => `request-${i}`);
const data = Array.from({ length: COLUMNS }, (_, i) => i / 8);
const tensor = { shape: [1, COLUMNS], datatype: 'FP32' };
const names = ['INPUT0', 'INPUT1'];
addCase(
  'JSON',
  ids.map((id) => Buffer.from(JSON.stringify({ id, model_name: 'add_sub', inputs: names.map((name) => ({ name, ...tensor, data })) }))),
  false,
);
addCase(
  'binary',
  ids.map((id) => {
    const inputs = names.map((name) => ({ name, ...tensor, parameters: { binary_data_size: 4 * COLUMNS } }));
    const head = Buffer.from(JSON.stringify({ id, model_name: 'add_sub', inputs, parameters: { binary_data_output: true } }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length);
    return Buffer.concat([length, head, new Uint8Array(2 * 4 * COLUMNS)]);
  }),
  true,
);
await bench.run();
