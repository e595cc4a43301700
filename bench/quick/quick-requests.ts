import type { Request } from 'autocannon';
import { invalidArgument } from '../../proto/inference-error.ts';
import type { LoadPlan } from '../load/load-plan.ts';
import { encodeInfer } from '../wire/http/infer-request.ts';

/** What autocannon writes of its own into each request. */
const OWN_HEADER = 'Connection: keep-alive\r\n';
/** autocannon keeps three copies of every request for every connection. */
const COPIES = 3;
const MAX_COPIED_BYTES = 256 * 1024 * 1024;

export interface QuickRequests {
  readonly requests: Request[];
  /** Of a request on the wire, mean. */
  readonly meanBytes: number;
}

/** The plan's requests as autocannon takes them; fewer than all where their copies would not fit into memory. Throws INVALID_ARGUMENT for what is not inference over HTTP. */
export function quickRequests(plan: LoadPlan, connections: number): QuickRequests {
  const { protocol, sequence, target } = plan;
  if (protocol !== 'http-json' && protocol !== 'http-binary') {
    throw invalidArgument(
      `--quick: expected --protocol http-json or http-binary, got ${protocol}: autocannon speaks HTTP alone; leave --quick out`,
    );
  }
  if (sequence !== null) throw invalidArgument('--quick: expected no --sequence-length: autocannon knows no sequences; leave --quick out');
  const requests: Request[] = [];
  let bytes = 0;
  for (const { infer } of plan.requests) {
    if (infer === null) throw invalidArgument(`${protocol}: expected requests of tensors, got text`);
    const encoded = encodeInfer(target, infer, protocol === 'http-json' ? 'json' : 'binary', false).bytes;
    const total = bytes + encoded.length + OWN_HEADER.length;
    if (requests.length > 0 && total * COPIES * connections > MAX_COPIED_BYTES) break;
    requests.push(asRequest(encoded));
    bytes = total;
  }
  return { requests, meanBytes: bytes / requests.length };
}

function asRequest(encoded: Buffer): Request {
  const headEnd = encoded.indexOf('\r\n\r\n');
  const [requestLine = '', ...lines] = encoded.toString('latin1', 0, headEnd).split('\r\n');
  const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
  // It counts the body itself.
  delete headers['content-length'];
  return { method: 'POST', path: requestLine.split(' ')[1]!, headers, body: encoded.subarray(headEnd + 4) };
}
