import { skipArray } from '../oip-json/array-walker.ts';
import { readText } from '../oip-json/field-reader.ts';
import { JsonReader, OPEN_BRACE, OPEN_BRACKET } from '../oip-json/json-reader.ts';

/**
 * The `id` of a message that was refused, so that the refusal can be answered to it: the first one at the top level that stands before whatever ends the JSON.
 * '' when there is none that can be read.
 */
export function findId(json: Uint8Array): string {
  try {
    const reader = new JsonReader(json);
    if (!reader.enter(OPEN_BRACE)) return '';
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('id')) return readText(reader) ?? '';
      // By brackets alone: a refused request may be as long as any.
      if (reader.peek() === OPEN_BRACKET) reader.at = skipArray(json, reader.at);
      else reader.skipValue();
    }
  } catch {
    // Not JSON from here on.
  }
  return '';
}
