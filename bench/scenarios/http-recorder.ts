export interface RecordedAnswer {
  /** Name, value, name, value. */
  readonly headers: readonly string[];
  /** The same with Content-Length, which uWebSockets.js writes itself. */
  readonly headersWithLength: string[];
  readonly body: Buffer;
}

/** The first answer of a real server. */
export class HttpRecorder {
  /** null until there is one. */
  answer: RecordedAnswer | null = null;
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  /** Throws when it is not a success: a control must not answer with an error. */
  async ask(path: string, contentType: string, headerLength: string, body: Uint8Array): Promise<RecordedAnswer> {
    const headers: Record<string, string> = { 'content-type': contentType };
    if (headerLength !== '') headers['inference-header-content-length'] = headerLength;
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { method: 'POST', headers, body: new Uint8Array(body) });
    const bytes = Buffer.from(await response.arrayBuffer());
    if (response.status !== 200)
      throw new Error(`the server that is imitated answered ${response.status}: ${bytes.toString('utf8', 0, 300)}`);
    const kept = ['content-type', 'inference-header-content-length'].flatMap((name) => {
      const value = response.headers.get(name);
      return value === null ? [] : [name, value];
    });
    this.answer ??= { headers: kept, headersWithLength: [...kept, 'content-length', String(bytes.length)], body: bytes };
    return this.answer;
  }
}
