import { randomUUID } from 'node:crypto';
import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { HttpExchange } from '../../transports/http-exchange.ts';
import { JsonWriter } from '../oip-json/json-writer.ts';
import { answerHeaders } from './answer-headers.ts';
import type { EmbeddingsSpec } from './embeddings-request.ts';
import type { Rows } from './embeddings-rows.ts';

/** Numbers written in one turn of the event loop, 1 to 2 ms of it. */
const NUMBERS_A_TURN = 32_768;

const writer = new JsonWriter();

/** Answers as OpenAI does (reference section 6.4), Large answers are written in several turns of the event loop. INVALID_ARGUMENT: the model gives fewer. */
export async function answerEmbeddings(
  exchange: HttpExchange,
  { model, dimensions, isBase64, ignored }: EmbeddingsSpec,
  rows: Rows,
): Promise<void> {
  const { values, width, tokens } = rows;
  if (dimensions > width) throw invalidArgument(`dimensions: expected at most ${width}, as many as the model gives, got ${dimensions}`);
  const kept = dimensions || width;
  const count = values.length / width;
  const rowsATurn = Math.max(1, Math.floor(NUMBERS_A_TURN / width));
  const pieces: Uint8Array[] = [];
  for (let from = 0; from < count; from += rowsATurn) {
    if (from > 0) await new Promise((resolve) => setImmediate(resolve));
    if (exchange.isAborted) return;
    writer.reset();
    if (from === 0) writer.ascii('{"object":"list","data":[');
    for (let index = from; index < Math.min(count, from + rowsATurn); index++) {
      const row = cut(values.subarray(index * width, (index + 1) * width), kept);
      const data = new Uint8Array(row.buffer, row.byteOffset, row.byteLength);
      writer.ascii(index === 0 ? '{"object":"embedding","index":' : ',{"object":"embedding","index":');
      writer.integer(index);
      writer.ascii(',"embedding":');
      if (isBase64) writer.ascii(`"${Buffer.from(data.buffer, data.byteOffset, data.length).toString('base64')}"`);
      else writer.tensorData({ name: 'embedding', datatype: 'FP32', shape: [kept], data });
      writer.ascii('}');
    }
    pieces.push(writer.view().slice());
  }
  writer.reset();
  writer.ascii('],"model":');
  writer.string(model);
  writer.ascii(`,"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`);
  pieces.push(writer.view().slice());
  writer.release();
  exchange.respond(200, answerHeaders(JSON_CONTENT_TYPE, `embd-${randomUUID()}`, ignored), pieces);
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
