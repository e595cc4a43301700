import { Metadata } from '@grpc/grpc-js';
import { InferenceError, invalidArgument } from '../../../../proto/inference-error.ts';

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

/** A call's headers as gRPC metadata; a name that ends in `-bin` has base64, as on the wire. Throws INVALID_ARGUMENT for what is no metadata. */
export function callMetadata(headers: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const name of Object.keys(headers)) {
    if (RESERVED.has(name) || name.startsWith('grpc-')) throw invalidArgument(`headers.${name}: gRPC sets this one itself: leave it out`);
    const value = headers[name]!;
    try {
      metadata.set(name, name.endsWith('-bin') ? Buffer.from(value, 'base64') : value);
    } catch (error) {
      throw new InferenceError(
        'INVALID_ARGUMENT',
        `headers.${name}: expected gRPC metadata, printable ASCII: ${(error as Error).message}`,
        {
          cause: error,
        },
      );
    }
  }
  return metadata;
}
