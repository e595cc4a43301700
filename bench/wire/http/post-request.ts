import { mergeHeaders } from '../../../clients/typescript/src/call-headers.ts';
import { CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH } from '../../../proto/headers.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { LoadTarget } from '../../load/load-plan.ts';

/** The port that a `host` header leaves out. */
const DEFAULT_PORT = { http: 80, https: 443 } as const;

/** What a request line can hold. */
const TARGET = /^\/[\x21-\x7e]*$/;

/**
 * A POST as it goes over the wire, headers and body. `path` comes behind the target's base path; `headers` are the protocol's own. Throws INVALID_ARGUMENT for a path or headers of the
 * target's that HTTP cannot send, and for headers that the protocol sets itself.
 */
export function postRequest(
  target: LoadTarget,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: readonly Uint8Array[],
): Buffer {
  const own = mergeHeaders(target.headers, undefined);
  for (const name of [CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH]) {
    if (own[name] !== undefined) throw invalidArgument(`headers.${name}: the protocol sets this one itself: leave it out`);
  }
  if (!TARGET.test(target.basePath + path)) {
    throw invalidArgument(
      `path: expected printable ASCII without spaces, others as %20 or the like, got ${JSON.stringify(target.basePath + path)}`,
    );
  }
  const length = body.reduce((bytes, piece) => bytes + piece.length, 0);
  const lines = Object.entries({ host: hostOf(target), ...headers, ...own, 'content-length': String(length) });
  const head = `POST ${target.basePath}${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  // Header values are Latin-1 (RFC 9110, 5.5); paths are ASCII.
  return Buffer.concat([Buffer.from(head, 'latin1'), ...body]);
}

function hostOf({ host, port, tls }: LoadTarget): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === DEFAULT_PORT[tls === null ? 'http' : 'https'] ? name : `${name}:${port}`;
}
