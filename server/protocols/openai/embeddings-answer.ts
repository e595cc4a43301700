import { randomUUID } from 'node:crypto';
import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { HttpDrainListener, HttpExchange, HttpStream } from '../../transports/http-exchange.ts';
import { JsonWriter } from '../oip-json/json-writer.ts';
import { answerHeaders } from './answer-headers.ts';
import type { EmbeddingsSpec } from './embeddings-request.ts';
import type { Rows } from './embeddings-rows.ts';

/** Numbers written in one turn of the event loop, 1 to 2 ms of it. */
const NUMBERS_A_TURN = 32_768;
/** An answer of more, some 1.5 MB, goes out in parts, as putting it together would hold the loop for a millisecond a megabyte. Such a one is not compressed. */
const MAX_WHOLE_NUMBERS = 4 * NUMBERS_A_TURN;

const writer = new JsonWriter();

/** Answers as OpenAI does (reference section 6.4). Large answers are written in several turns of the event loop, as fast as the client takes them. INVALID_ARGUMENT: the model gives fewer numbers. */
export async function answerEmbeddings(
  exchange: HttpExchange,
  { model, dimensions, isBase64, ignored }: EmbeddingsSpec,
  { values, width, tokens }: Rows,
): Promise<void> {
  if (dimensions > width) throw invalidArgument(`dimensions: expected at most ${width}, as many as the model gives, got ${dimensions}`);
  const kept = dimensions || width;
  const count = values.length / width;
  const rowsATurn = Math.max(1, Math.floor(NUMBERS_A_TURN / width));
  const headers = answerHeaders(JSON_CONTENT_TYPE, `embd-${randomUUID()}`, ignored);
  const stream = count * kept > MAX_WHOLE_NUMBERS ? new DrainedStream(exchange.startStream(200, headers)) : null;
  const pieces: Uint8Array[] = [];
  try {
    for (let from = 0; from < count; from += rowsATurn) {
      if (from > 0) await new Promise((resolve) => setImmediate(resolve));
      if (exchange.isAborted) return;
      writer.reset();
      writer.ascii(from === 0 ? '{"object":"list","data":[' : ',');
      const to = Math.min(count, from + rowsATurn);
      for (let index = from; index < to; index++) {
        writeRow(index, cut(values.subarray(index * width, (index + 1) * width), kept), isBase64);
        if (index + 1 < to) writer.ascii(',');
      }
      if (to === count) {
        writer.ascii('],"model":');
        writer.string(model);
        writer.ascii(`,"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`);
      }
      if (stream === null) {
        pieces.push(writer.view().slice());
      } else {
        const drained = stream.write(writer.view());
        if (drained !== null) await drained;
      }
    }
  } catch (error) {
    // Its status is out: a cut tells the client that the answer is not whole.
    stream?.abort();
    throw error;
  }
  writer.release();
  if (stream === null) exchange.respond(200, headers, pieces);
  else stream.end();
}

function writeRow(index: number, row: Float32Array, isBase64: boolean): void {
  writer.ascii('{"object":"embedding","index":');
  writer.integer(index);
  writer.ascii(',"embedding":');
  const data = new Uint8Array(row.buffer, row.byteOffset, row.byteLength);
  if (isBase64) writer.ascii(`"${Buffer.from(data.buffer, data.byteOffset, data.length).toString('base64')}"`);
  else writer.tensorData({ name: 'embedding', datatype: 'FP32', shape: [row.length], data });
  writer.ascii('}');
}

/** A stream that is written by somebody who can wait. Of a client that goes away it tells nothing: who waits is dropped with it. */
class DrainedStream implements HttpDrainListener {
  readonly #stream: HttpStream;
  #resume: (() => void) | null = null;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    stream.drainListener = this;
  }

  /** Null, or the time to go on: the client has more than it takes. */
  write(part: Uint8Array): Promise<void> | null {
    if (this.#stream.write(part)) return null;
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  onStreamDrained(): void {
    this.#resume?.();
    this.#resume = null;
  }

  end(): void {
    this.#stream.end();
  }

  abort(): void {
    this.#stream.abort();
  }
}

/** The first numbers, of length 1 again; a model that knows the parameter `dimensions` has done so itself. */
function cut(row: Float32Array, kept: number): Float32Array {
  if (kept === row.length) return row;
  const first = row.slice(0, kept);
  let sum = 0;
  for (const value of first) sum += value * value;
  if (sum > 0) for (let i = 0; i < kept; i++) first[i] = first[i]! / Math.sqrt(sum);
  return first;
}
