import { invalidArgument } from '../../../proto/inference-error.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import { describeJson, type JsonReader, OPEN_BRACKET, QUOTE } from '../oip-json/json-reader.ts';
import { BodyFields } from './body-fields.ts';
import { unknownFields } from './unknown-fields.ts';

/** Texts of one call, as OpenAI has it. */
export const MAX_INPUTS = 2_048;
const MAX_DIMENSIONS = 65_536;

export interface EmbeddingsSpec {
  readonly model: string;
  /** One of the two has all that was asked for. */
  readonly texts: readonly string[];
  readonly tokens: readonly Int32Array[];
  readonly isBase64: boolean;
  /** 0: as many as the model gives. */
  readonly dimensions: number;
  /** What the model is told. */
  readonly parameters: Readonly<Record<string, RequestParameter>>;
  /** Members of the body that nobody reads. */
  readonly ignored: readonly string[];
}

const OWN: readonly string[] = ['model', 'input', 'encoding_format', 'dimensions', 'user', 'truncate'];
const FORMS = 'a string, an array of strings, an array of token ids, or an array of such arrays';

/** A body of `POST /v1/embeddings` (reference section 6.4), and `truncate` as in Cohere's. Throws INVALID_ARGUMENT. */
export function decodeEmbeddings(body: Uint8Array): EmbeddingsSpec {
  const fields = new BodyFields(body);
  const model = readModelName(fields);
  const ignored = otherFields(fields, OWN);
  const format = fields.text('encoding_format') ?? 'float';
  if (format !== 'float' && format !== 'base64')
    throw invalidArgument(`encoding_format: expected 'float' or 'base64', got '${format.slice(0, 40)}'`);
  if (fields.has('user')) fields.text('user');
  const dimensions = fields.integer('dimensions', 1, MAX_DIMENSIONS) ?? 0;
  const truncate = readTruncate(fields);
  if (!fields.has('input')) throw invalidArgument(`input: missing; expected ${FORMS}`);
  const inputs = fields.walk('input', (reader) => readInputs(fields, reader));
  return {
    model,
    ...inputs,
    isBase64: format === 'base64',
    dimensions,
    parameters: { ...(dimensions > 0 ? { dimensions } : {}), ...(truncate === null ? {} : { truncate }) },
    ignored,
  };
}

export function readModelName(fields: BodyFields): string {
  const model = fields.text('model');
  if (model === null || model === '') throw invalidArgument('model: missing; expected the name of a model, as GET /v1/models lists them');
  return model;
}

/** Which side of a text that is too long is cut; null: not said. */
export function readTruncate(fields: BodyFields): string | boolean | null {
  if (!fields.has('truncate')) return null;
  return fields.firstByte('truncate') === QUOTE ? fields.text('truncate')!.toLowerCase() : fields.flag('truncate');
}

/** Members that the call does not know; see unknownFields. */
export function otherFields(fields: BodyFields, own: readonly string[]): string[] {
  return unknownFields(
    [...fields.names()].filter((name) => fields.has(name)),
    own,
  );
}

function readInputs(fields: BodyFields, reader: JsonReader): Pick<EmbeddingsSpec, 'texts' | 'tokens'> {
  const c = reader.peek();
  if (c === QUOTE) {
    reader.scanString();
    return { texts: [notEmpty('input', reader.stringText())], tokens: [] };
  }
  if (c !== OPEN_BRACKET) throw fields.wrong('input', FORMS);
  const texts: string[] = [];
  const lists: Int32Array[] = [];
  const ids: number[] = [];
  reader.enter(OPEN_BRACKET);
  for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
    const first = reader.peek();
    const where = `input[${texts.length + lists.length + ids.length}]`;
    if (first === QUOTE && lists.length + ids.length === 0) {
      reader.scanString();
      texts.push(notEmpty(where, reader.stringText()));
    } else if (first === OPEN_BRACKET && texts.length + ids.length === 0) {
      lists.push(readTokenList(reader, where));
    } else if (texts.length + lists.length === 0) {
      ids.push(readToken(reader, where));
    } else {
      throw invalidArgument(
        `${where}: expected ${texts.length > 0 ? 'a string' : 'an array of token ids'} as before it, got ${describeJson(reader.bytes, reader.at)}`,
      );
    }
    if (texts.length + lists.length > MAX_INPUTS) throw invalidArgument(`input: expected at most ${MAX_INPUTS} texts in one call`);
  }
  if (ids.length > 0) lists.push(Int32Array.from(ids));
  if (texts.length + lists.length === 0) throw invalidArgument('input: expected at least one text, got an empty array');
  return { texts, tokens: lists };
}

function notEmpty(where: string, text: string): string {
  if (text === '') throw invalidArgument(`${where}: expected some text, got an empty string`);
  return text;
}

function readTokenList(reader: JsonReader, where: string): Int32Array {
  const tokens: number[] = [];
  reader.enter(OPEN_BRACKET);
  for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) tokens.push(readToken(reader, `${where}[${tokens.length}]`));
  if (tokens.length === 0) throw invalidArgument(`${where}: expected at least one token id, got an empty array`);
  return Int32Array.from(tokens);
}

function readToken(reader: JsonReader, where: string): number {
  const token = reader.readInteger();
  if (token === undefined || token < 0 || token > 0x7fffffff) {
    throw invalidArgument(`${where}: expected a token id, got ${describeJson(reader.bytes, reader.at)}`);
  }
  return token;
}
