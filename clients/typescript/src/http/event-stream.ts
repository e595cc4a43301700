import { malformedAnswer } from '../infer-result.ts';

/** Of one event, characters: more is no answer of ours. */
const MAX_EVENT_CHARS = 256 * 1024 * 1024;

/** The data of each server-sent event of a body, in order. Lines end in LF or CRLF. Source: HTML standard, server-sent events; fields other than `data` are left out. */
export async function* readEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  /** Characters of `rest` that hold no line end. */
  let searched = 0;
  let data: string[] = [];
  let dataChars = 0;
  for await (const chunk of chunks) {
    rest += decode(utf8, chunk);
    let from = 0;
    for (let end = rest.indexOf('\n', searched); end >= 0; end = rest.indexOf('\n', from)) {
      const line = rest.slice(from, rest[end - 1] === '\r' && end > from ? end - 1 : end);
      from = end + 1;
      if (line === '') {
        if (data.length > 0) yield data.join('\n');
        data = [];
        dataChars = 0;
      } else if (line.startsWith('data:')) {
        const value = line.slice(line[5] === ' ' ? 6 : 5);
        data.push(value);
        dataChars += value.length;
      }
    }
    rest = rest.slice(from);
    searched = rest.length;
    if (rest.length + dataChars > MAX_EVENT_CHARS) throw malformedAnswer(`an event has more than ${MAX_EVENT_CHARS} characters`);
  }
  if (rest !== '' || data.length > 0) throw malformedAnswer('the stream ends in the middle of an event');
}

function decode(utf8: InstanceType<typeof TextDecoder>, chunk: Uint8Array): string {
  try {
    return utf8.decode(chunk, { stream: true });
  } catch (error) {
    throw malformedAnswer('its events are not UTF-8', error);
  }
}
