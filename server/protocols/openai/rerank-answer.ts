import { randomUUID } from 'node:crypto';
import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { HttpExchange } from '../../transports/http-exchange.ts';
import { answerHeaders } from './answer-headers.ts';
import type { Rows } from './embeddings-rows.ts';
import type { RerankSpec } from './rerank-request.ts';

/** Answers with the documents' scores, best first; of equal ones the first in the request (reference section 6.5). */
export function answerRerank(exchange: HttpExchange, spec: RerankSpec, { values, tokens }: Rows): void {
  const order = Array.from(values.keys()).sort((a, b) => rank(values[b]!) - rank(values[a]!) || a - b);
  if (spec.top > 0) order.length = Math.min(order.length, spec.top);
  const id = `rerank-${randomUUID()}`;
  const isTei = spec.form === 'tei';
  const pieces: Uint8Array[] = [];
  let text = isTei
    ? '['
    : `{"id":"${id}","object":"list","model":${JSON.stringify(spec.model)},"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}},"results":[`;
  for (const [place, index] of order.entries()) {
    text += `${place === 0 ? '' : ','}{"index":${index},"${isTei ? 'score' : 'relevance_score'}":${shown(values[index]!)}`;
    if (spec.returnsDocuments) {
      // As the client wrote it: it is JSON already.
      pieces.push(Buffer.from(`${text},${isTei ? '"text":' : '"document":{"text":'}`), spec.documentJson[index]!);
      text = isTei ? '' : '}';
    }
    text += '}';
  }
  pieces.push(Buffer.from(`${text}${isTei ? ']' : ']}'}`));
  exchange.respond(200, answerHeaders(JSON_CONTENT_TYPE, id, spec.ignored), pieces);
}

/** NaN comes last. */
function rank(score: number): number {
  return Number.isNaN(score) ? Number.NEGATIVE_INFINITY : score;
}

function shown(score: number): string {
  return Number.isFinite(score) ? String(score) : 'null';
}
