import { invalidArgument } from '../../../proto/inference-error.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import { describeJson, type JsonReader, OPEN_BRACE, OPEN_BRACKET, QUOTE } from '../oip-json/json-reader.ts';
import { BodyFields } from './body-fields.ts';
import { otherFields, readModelName, readTruncate } from './embeddings-request.ts';

export const MAX_DOCUMENTS = 2_048;

/** `tei`: the form of Text Embeddings Inference, told by its key `texts`. */
export type RerankForm = 'jina' | 'tei';

export interface RerankSpec {
  readonly form: RerankForm;
  /** '' where the TEI form names none. */
  readonly model: string;
  readonly query: string;
  readonly documents: readonly string[];
  /** Each document's text as its JSON string, a view of the body. */
  readonly documentJson: readonly Uint8Array[];
  /** Best ones that are wanted; 0: all. */
  readonly top: number;
  readonly returnsDocuments: boolean;
  readonly parameters: Readonly<Record<string, RequestParameter>>;
  /** Members of the body that nobody reads. */
  readonly ignored: readonly string[];
}

const JINA: readonly string[] = ['model', 'query', 'documents', 'top_n', 'return_documents', 'truncate', 'user'];
const TEI: readonly string[] = ['model', 'query', 'texts', 'return_text', 'raw_scores', 'truncate', 'truncation_direction'];

/** A body of `POST /v1/rerank` (reference section 6.5): Jina's and Cohere's form, or TEI's. Throws INVALID_ARGUMENT. */
export function decodeRerank(body: Uint8Array): RerankSpec {
  const fields = new BodyFields(body);
  const form: RerankForm = fields.has('texts') && !fields.has('documents') ? 'tei' : 'jina';
  const isTei = form === 'tei';
  const model = isTei && !fields.has('model') ? '' : readModelName(fields);
  const ignored = otherFields(fields, isTei ? TEI : JINA);
  const list = isTei ? 'texts' : 'documents';
  const query = readQuery(fields);
  const documents: string[] = [];
  const documentJson: Uint8Array[] = [];
  if (!fields.has(list)) throw invalidArgument(`${list}: missing; expected an array of texts`);
  fields.container(list, 'array');
  fields.walk(list, (reader) => {
    reader.enter(OPEN_BRACKET);
    for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
      const { text, json } = readDocument(reader, `${list}[${documents.length}]`);
      documents.push(text);
      documentJson.push(json);
      if (documents.length > MAX_DOCUMENTS) throw invalidArgument(`${list}: expected at most ${MAX_DOCUMENTS} texts in one call`);
    }
  });
  if (documents.length === 0) throw invalidArgument(`${list}: expected at least one text, got an empty array`);
  const parameters: Record<string, RequestParameter> = {};
  const truncate = readTruncate(fields);
  const side = isTei ? fields.text('truncation_direction')?.toLowerCase() : undefined;
  if (side !== undefined && side !== 'left' && side !== 'right')
    throw invalidArgument(`truncation_direction: expected 'Left' or 'Right', got '${side.slice(0, 40)}'`);
  if (truncate !== null) parameters['truncate'] = truncate === true && side === 'left' ? 'start' : truncate;
  if (isTei && fields.flag('raw_scores') === true) parameters['raw_scores'] = true;
  return {
    form,
    model,
    query,
    documents,
    documentJson,
    top: isTei ? 0 : (fields.integer('top_n', 0, Number.MAX_SAFE_INTEGER) ?? 0),
    returnsDocuments: fields.flag(isTei ? 'return_text' : 'return_documents') ?? false,
    parameters,
    ignored,
  };
}

function readQuery(fields: BodyFields): string {
  if (!fields.has('query')) throw invalidArgument('query: missing; expected a string');
  if (fields.firstByte('query') !== QUOTE) throw fields.wrong('query', 'a string');
  const query = fields.walk('query', (reader) => {
    reader.scanString();
    return reader.stringText();
  });
  if (query === '') throw invalidArgument('query: expected some text, got an empty string');
  return query;
}

interface Document {
  readonly text: string;
  readonly json: Uint8Array;
}

/** A string, or an object whose member `text` is one. */
function readDocument(reader: JsonReader, where: string): Document {
  const expected = `${where}: expected a string, or an object with a string 'text'`;
  const c = reader.peek();
  if (c === QUOTE) return readString(reader);
  if (c !== OPEN_BRACE) throw invalidArgument(`${expected}, got ${describeJson(reader.bytes, reader.at)}`);
  let found: Document | null = null;
  reader.enter(OPEN_BRACE);
  for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
    const isText = reader.stringIs('text');
    if (isText && reader.peek() === QUOTE) found = readString(reader);
    else reader.skipValue();
  }
  if (found === null) throw invalidArgument(`${expected}, got an object without one`);
  return found;
}

function readString(reader: JsonReader): Document {
  reader.scanString();
  return { text: reader.stringText(), json: reader.bytes.subarray(reader.stringStart - 1, reader.stringEnd + 1) };
}
