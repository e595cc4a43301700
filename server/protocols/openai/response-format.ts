import { invalidArgument } from '../../../proto/inference-error.ts';
import { OPEN_BRACE, QUOTE } from '../oip-json/json-reader.ts';
import type { BodyFields } from './body-fields.ts';

const FORMATS = "one of 'text', 'json_object' and 'json_schema'";

/** Says what `response_format` asks for in the model's words: `name`, its JSON, and what the client called it. Throws INVALID_ARGUMENT. */
export function readResponseFormat(fields: BodyFields, say: (name: string, member: string, asked: string) => void): void {
  if (fields.container('response_format', 'object') === null) return;
  let type = '';
  let schema: string | null = null;
  let hasSchemaObject = false;
  fields.walk('response_format', (reader) => {
    const valueText = (): string => {
      reader.peek();
      const start = reader.at;
      reader.skipValue();
      return Buffer.from(reader.bytes.buffer, reader.bytes.byteOffset + start, reader.at - start).toString('utf8');
    };
    reader.enter(OPEN_BRACE);
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('type') && reader.peek() === QUOTE) {
        reader.scanString();
        type = reader.stringText();
      } else if (reader.stringIs('json_schema') && reader.enter(OPEN_BRACE)) {
        hasSchemaObject = true;
        for (let first = true; reader.nextKey(first); first = false) {
          if (reader.stringIs('schema')) schema = valueText();
          else reader.skipValue();
        }
      } else {
        reader.skipValue();
      }
    }
  });
  switch (type) {
    case 'text':
      return;
    case 'json_object':
      say('json_object', 'true', 'response_format');
      return;
    case 'json_schema':
      if (!hasSchemaObject) throw invalidArgument('response_format.json_schema: missing; expected an object with a name and a schema');
      if (schema === null || schema === 'null') say('json_object', 'true', 'response_format');
      else say('json_schema', schema, 'response_format');
      return;
    default:
      throw invalidArgument(`response_format.type: expected ${FORMATS}, got ${JSON.stringify(type.slice(0, 40))}`);
  }
}
