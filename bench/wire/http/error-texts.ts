/** As in ErrorCount. */
const MAX_TEXT = 200;
/** Of a body that is no JSON: enough for what is shown of it, whatever the characters are. */
const MAX_LOOKED_AT = 4 * MAX_TEXT;

/** Reads what the bodies of errors say. A server that refuses sends the same body again and again: the last one is remembered. */
export class ErrorTexts {
  #body: Buffer = Buffer.alloc(0);
  #text = 'the server gave no reason';

  /** At most 200 characters. */
  read(body: Buffer): string {
    if (body.equals(this.#body)) return this.#text;
    this.#body = Buffer.from(body);
    this.#text = errorText(body);
    return this.#text;
  }
}

/**
 * The text of `{"error": "..."}` (V2), `{"error": {"message": "..."}}` (OpenAI), `{"message": "..."}` or `{"detail": "..."}` (gateways, FastAPI); of anything else its beginning. At most 200
 * characters.
 */
export function errorText(body: Buffer): string {
  const text = (textOf(body) ?? body.toString('utf8', 0, Math.min(body.length, MAX_LOOKED_AT))).trim();
  if (text === '') return 'the server gave no reason';
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT - 3)}...` : text;
}

function textOf(body: Buffer): string | null {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
  if (typeof json !== 'object' || json === null) return null;
  const { error, message, detail } = json as { error?: unknown; message?: unknown; detail?: unknown };
  if (typeof error === 'object' && error !== null) {
    const inner = (error as { message?: unknown }).message;
    if (typeof inner === 'string' && inner !== '') return inner;
  }
  for (const text of [error, message, detail]) if (typeof text === 'string' && text !== '') return text;
  return null;
}
