/**
 * All that the server does for a REST inference but its sockets and its model: from the exchange with its body to the encoded answer.
 * `node dist/bench/micro/endpoints.bench.js`
 */

import { oipRestRoutes } from '../../server/protocols/oip-rest/endpoints.ts';
import type { HttpAbortListener, HttpBody, HttpExchange } from '../../server/transports/http-exchange.ts';
import { answeredContext } from './answered-context.ts';
import { COLUMNS, MAX_BATCH_SIZE, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const clock = new TickClock();
const context = await answeredContext(clock);
const routes = oipRestRoutes(context);
const infer = routes.find(({ pattern }) => pattern === '/v2/models/{model}/infer')!;

let answeredBytes = 0;

class BodyExchange implements HttpExchange {
  readonly method = 'POST';
  readonly path = '/v2/models/add_sub/infer';
  readonly query = '';
  readonly params: readonly string[] = ['add_sub'];
  readonly body: Uint8Array;
  readonly isAborted = false;
  abortListener: HttpAbortListener | null = null;
  readonly #headerLength: string;

  constructor(body: Uint8Array, headerLength: string) {
    this.body = body;
    this.#headerLength = headerLength;
  }

  header(name: string): string {
    return name === 'inference-header-content-length' ? this.#headerLength : '';
  }

  respond(status: number, _headers: readonly string[], body: HttpBody): void {
    if (status !== 200) throw new Error(`answered ${status}: ${String(body)}`);
    if (!Array.isArray(body)) answeredBytes += body.length;
    else for (let i = 0; i < body.length; i++) answeredBytes += (body[i] as Uint8Array).length;
  }

  startStream(): never {
    throw new Error('an inference answer is not streamed');
  }
}

const bench = new CallBench('a REST inference without sockets and model, add_sub [1,16]');

function addCase(what: string, body: Uint8Array, headerLength: string): void {
  for (const perTick of [1, MAX_BATCH_SIZE]) {
    bench.add(`${what}, ${perTick} a tick`, COUNT, () => {
      for (let sent = 0; sent < COUNT; sent += perTick) {
        for (let i = 0; i < perTick; i++) infer.handle(new BodyExchange(body, headerLength));
        clock.tick();
      }
      return answeredBytes;
    });
  }
}

const data = Array.from({ length: COLUMNS }, (_, i) => i / 8);
const tensor = { shape: [1, COLUMNS], datatype: 'FP32' };
const names = ['INPUT0', 'INPUT1'];
addCase('JSON', Buffer.from(JSON.stringify({ inputs: names.map((name) => ({ name, ...tensor, data })) })), '');
const head = JSON.stringify({
  inputs: names.map((name) => ({ name, ...tensor, parameters: { binary_data_size: 4 * COLUMNS } })),
  parameters: { binary_data_output: true },
});
addCase('binary', Buffer.concat([Buffer.from(head), new Uint8Array(2 * 4 * COLUMNS)]), String(head.length));
await bench.run();
