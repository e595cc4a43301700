import { invalidArgument } from '../../../proto/inference-error.ts';

export type CallHeaders = Readonly<Record<string, string>>;

/** They frame the message or belong to the connection: a caller's value would break the request, or leave the server waiting for bytes that never come. */
const FRAMING: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
/** RFC 9110, 5.1 and 5.5. */
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Both sets, by lower-case name; `own` wins. Throws INVALID_ARGUMENT for what no transport can send, before anything is sent. */
export function mergeHeaders(common: CallHeaders, own: CallHeaders | undefined): CallHeaders {
  const headers: Record<string, string> = {};
  addTo(headers, common);
  if (own !== undefined) addTo(headers, own);
  return headers;
}

function addTo(headers: Record<string, string>, set: CallHeaders): void {
  for (const [name, value] of Object.entries(set)) {
    const lower = name.toLowerCase();
    if (!NAME.test(lower)) throw invalidArgument(`headers: expected names of letters, digits and -, got ${JSON.stringify(name)}`);
    if (FRAMING.has(lower)) throw invalidArgument(`headers.${name}: the transport sets this one itself: leave it out`);
    // The value may be a secret: it is not repeated.
    if (typeof value !== 'string') throw invalidArgument(`headers.${name}: expected text, got ${value === null ? 'null' : typeof value}`);
    if (!VALUE.test(value)) throw invalidArgument(`headers.${name}: expected one line of printable Latin-1 characters`);
    headers[lower] = value;
  }
}
