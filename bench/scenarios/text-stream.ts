export interface TextStream {
  /** Of the first event, after the request was sent. */
  readonly firstMs: number;
  /** Of the last event that is not `[DONE]`. */
  readonly lastMs: number;
  /** The data of that event. */
  readonly last: string;
  readonly events: number;
}

/** Posts JSON and reads the answer's server-sent events. Throws on any status but 200, and on an error that comes as an event. */
export async function readStream(url: string, body: object): Promise<TextStream> {
  const startedMs = performance.now();
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (response.status !== 200 || response.body === null) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  const decoder = new TextDecoder();
  let rest = '';
  let firstMs = Number.NaN;
  let lastMs = Number.NaN;
  let last = '';
  let events = 0;
  for await (const piece of response.body) {
    rest += decoder.decode(piece as Uint8Array, { stream: true });
    let end = rest.indexOf('\n\n');
    while (end >= 0) {
      const event = rest.slice(0, end);
      rest = rest.slice(end + 2);
      end = rest.indexOf('\n\n');
      if (!event.startsWith('data: ') || event === 'data: [DONE]') continue;
      last = event.slice('data: '.length);
      lastMs = performance.now() - startedMs;
      if (events++ === 0) firstMs = lastMs;
    }
  }
  if (last.startsWith('{"error"')) throw new Error(`${url} ended with ${last}`);
  return { firstMs, lastMs, last, events };
}
