import { isUtf8 } from 'node:buffer';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { MAX_CONFIG_BYTES } from '../../model-config/parse-model-config.ts';
import type { LoadParameters } from '../../repository/load-parameters.ts';
import { MAX_OVERRIDE_PATH_BYTES, parameterName } from '../../repository/override/override-path.ts';
import { CONFIG, configTooLarge, FILE_PREFIX, LoadRequest, unknownLoadParameter } from '../load-request.ts';
import { describeJson, JsonReader, malformedJson, OPEN_BRACE, QUOTE, unescapeJson } from '../oip-json/json-reader.ts';
import { Base64File } from './base64-file.ts';
import { type JsonOutline, type JsonString, outlineJson, shortString } from './outline-json.ts';

const PARAMETERS = 'parameters';
/** An escape of six bytes may stand for one. */
const MAX_ESCAPE_GROWTH = 6;

/**
 * Reads the body of a load request: `{"parameters":{"config":"<json>","file:<path>":"<base64>"}}`, every part of which may be missing (reference
 * section 6.6). Bodies may be large: it works in turns of the event loop, and files stay in `body` until they are written. INVALID_ARGUMENT for
 * everything that it does not take; other members beside `parameters` are passed over.
 */
export async function decodeLoadRequest(body: Uint8Array): Promise<LoadParameters | null> {
  if (body.length === 0) return null;
  const outline = await outlineJson(body);
  const reader = new JsonReader(outline.text);
  if (!reader.enter(OPEN_BRACE)) {
    if (reader.peek() === -1) throw reader.unexpected('a JSON object');
    throw invalidArgument(`request body: expected a JSON object, got ${describeJson(reader.bytes, reader.at)}`);
  }
  const request = new LoadRequest();
  let hasParameters = false;
  for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
    if (!reader.stringIs(PARAMETERS)) {
      reader.skipValue();
      continue;
    }
    if (hasParameters) throw reader.repeatedKey();
    hasParameters = true;
    readParameters(reader, outline, request);
  }
  reader.expectEnd();
  return request.finish();
}

function readParameters(reader: JsonReader, outline: JsonOutline, request: LoadRequest): void {
  reader.peek();
  if (!reader.enter(OPEN_BRACE)) throw invalidArgument(`${PARAMETERS}: expected an object, got ${describeJson(reader.bytes, reader.at)}`);
  for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
    const key = textOf(lastString(reader, outline), FILE_PREFIX.length + MAX_OVERRIDE_PATH_BYTES);
    if (key === null) {
      throw invalidArgument(`${PARAMETERS}: expected names of at most ${FILE_PREFIX.length + MAX_OVERRIDE_PATH_BYTES} bytes`);
    }
    const isFile = key.startsWith(FILE_PREFIX);
    if (!isFile && key !== CONFIG) throw unknownLoadParameter(key);
    if (reader.peek() !== QUOTE) {
      const where = isFile ? parameterName(key.slice(FILE_PREFIX.length)) : `${PARAMETERS}.${key}`;
      const expected = isFile ? 'a string, the content of the file in base64' : 'a string, the configuration as the text of a JSON object';
      throw invalidArgument(`${where}: expected ${expected}, got ${describeJson(reader.bytes, reader.at)}`);
    }
    reader.scanString();
    const value = lastString(reader, outline);
    if (isFile) {
      const path = key.slice(FILE_PREFIX.length);
      request.addFile(path, new Base64File(value, parameterName(path)));
    } else {
      const config = textOf(value, MAX_CONFIG_BYTES);
      if (config === null) throw configTooLarge(value.end - value.start);
      request.setConfig(config);
    }
  }
}

/** The string that the reader scanned last, whole. */
function lastString(reader: JsonReader, { longStrings }: JsonOutline): JsonString {
  return longStrings.get(reader.stringStart - 1) ?? shortString(reader.bytes, reader.stringStart, reader.stringEnd);
}

/** The string as text; null when it has more than `maxBytes`. */
function textOf({ bytes, start, end, hasEscape }: JsonString, maxBytes: number): string | null {
  const length = end - start;
  if (length > (hasEscape ? MAX_ESCAPE_GROWTH : 1) * maxBytes) return null;
  const raw = Buffer.from(bytes.buffer, bytes.byteOffset + start, length);
  if (!isUtf8(raw)) throw malformedJson('invalid UTF-8 in a string', start - 1);
  if (!hasEscape) return raw.toString('utf8');
  const plain = Buffer.allocUnsafe(length);
  const plainBytes = unescapeJson(bytes, start, end, plain, 0);
  return plainBytes > maxBytes ? null : plain.toString('utf8', 0, plainBytes);
}
