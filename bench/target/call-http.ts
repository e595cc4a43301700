import { type ClientRequest, type IncomingMessage, request as requestPlain } from 'node:http';
import { request as requestSecure } from 'node:https';
import { CONTENT_TYPE, JSON_CONTENT_TYPE } from '../../proto/headers.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { LoadTarget } from '../load/load-plan.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/** Statistics of a server with thousands of models are a few MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/**
 * One request over a connection of its own: for control calls, beside the load. `path` comes behind the target's base path. `body`: JSON; null: none. Throws an InferenceError
 * for an answer that did not come, with the system's error as its cause: UNAVAILABLE, DEADLINE_EXCEEDED after `timeoutMs`, RESOURCE_EXHAUSTED. Not by fetch: that takes neither
 * client certificates nor any server's certificate.
 */
export function callHttp(
  target: LoadTarget,
  method: 'GET' | 'POST',
  path: string,
  body: string | null,
  timeoutMs: number,
): Promise<HttpAnswer> {
  const { tls } = target;
  const what = `${method} ${target.basePath}${path} at ${target.host}:${target.port}`;
  return new Promise((resolve, reject) => {
    const options = {
      method,
      host: target.host,
      port: target.port,
      path: target.basePath + path,
      headers: { ...target.headers, ...(body === null ? {} : { [CONTENT_TYPE]: JSON_CONTENT_TYPE }) },
      agent: false,
    };
    const request = openRequest(tls === null ? () => requestPlain(options) : () => requestSecure({ ...options, ...tlsOptions(tls) }));
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error instanceof InferenceError ? error : new InferenceError('UNAVAILABLE', `${what}: ${textOf(error)}`, { cause: error }));
      request.destroy();
    };
    const timer = setTimeout(() => {
      const late = new Error(`no answer within ${timeoutMs} ms`);
      fail(new InferenceError('DEADLINE_EXCEEDED', `${what}: ${late.message}`, { cause: late }));
    }, timeoutMs);
    request.once('error', fail);
    request.once('response', (response) => {
      readText(response, what).then((text) => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, contentType: response.headers[CONTENT_TYPE] ?? '', text });
      }, fail);
    });
    request.end(body ?? undefined);
  });
}

/** Node's text names the header, and not its value, which may be a secret. */
function openRequest(open: () => ClientRequest): ClientRequest {
  try {
    return open();
  } catch (error) {
    throw invalidArgument(`headers: ${(error as Error).message}`);
  }
}

async function readText(response: IncomingMessage, what: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new InferenceError('RESOURCE_EXHAUSTED', `${what}: expected an answer of at most ${MAX_ANSWER_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function tlsOptions(tls: NonNullable<LoadTarget['tls']>): object {
  return {
    rejectUnauthorized: tls.verify,
    ...(tls.ca === '' ? {} : { ca: tls.ca }),
    ...(tls.cert === '' ? {} : { cert: tls.cert, key: tls.key }),
  };
}

/** Where a name has several addresses, each has failed in its own way, and the whole has no message. */
function textOf(error: Error): string {
  const parts = error instanceof AggregateError ? (error.errors as Error[]) : [error];
  return parts.map((part) => part.message).join('; ');
}
