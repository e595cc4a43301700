import { invalidArgument } from '../../../proto/inference-error.ts';
import type { LoadTarget } from '../../load/load-plan.ts';

/** Names that gRPC and HTTP/2 have for themselves: a value of the caller's would break the call, or be dropped. */
const RESERVED: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'content-type',
  'host',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
]);
/** Source: gRPC over HTTP/2, "Custom-Metadata". A name that ends in `-bin` has base64 as its value, which fits too. */
const NAME = /^[0-9a-z_.-]+$/;
const VALUE = /^[\x20-\x7e]*$/;

/** The headers of every call, those of HTTP/2 itself apart: `te`, the content type, and the target's own as metadata. Throws INVALID_ARGUMENT for what is no metadata. */
export function requestMetadata({ headers }: LoadTarget): Record<string, string> {
  const metadata: Record<string, string> = { te: 'trailers', 'content-type': 'application/grpc' };
  for (const [name, value] of Object.entries(headers)) {
    if (RESERVED.has(name) || name.startsWith('grpc-')) throw invalidArgument(`headers.${name}: gRPC sets this one itself: leave it out`);
    if (!NAME.test(name))
      throw invalidArgument(`headers: expected names of lower-case letters, digits, -, _ and . for gRPC, got ${JSON.stringify(name)}`);
    // The value may be a secret: it is not repeated.
    if (!VALUE.test(value)) throw invalidArgument(`headers.${name}: expected one line of printable ASCII, as gRPC metadata is`);
    metadata[name] = value;
  }
  return metadata;
}

/** `127.0.0.1:8001`, `[::1]:8001`. */
export function authorityOf({ host, port }: LoadTarget): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
