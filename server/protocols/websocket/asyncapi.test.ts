import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DATATYPES } from '../../../proto/datatype.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import { CLOSE_CODES } from './close-codes.ts';
import { echo, echoHeader, HeldSession, type Message, onesBytes, responseTo, stream } from './held-session.case.ts';
import { MESSAGE_TYPES } from './message-envelope.ts';

const docs = join(import.meta.dirname, '../../../docs');
const page = readFileSync(join(docs, 'websocket.md'), 'utf8');
// biome-ignore lint/suspicious/noExplicitAny: a document of many shapes.
const document: any = parse(readFileSync(join(docs, 'websocket.asyncapi.yaml'), 'utf8'));
const { schemas, messages } = document.components;

interface Schema {
  readonly $ref?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly type?: string | readonly string[];
  readonly minLength?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: false | Schema;
  readonly items?: Schema;
}

function resolve<T>(path: string): T {
  let at = document;
  for (const key of path.slice(2).split('/')) at = at[key];
  if (at === undefined) throw new Error(`${path} leads nowhere`);
  return at;
}

const isOfType: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === 'boolean',
  array: (value) => Array.isArray(value),
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};

/** What of JSON Schema the document uses. */
function fits(value: unknown, schema: Schema): boolean {
  if (schema.$ref !== undefined) return fits(value, resolve(schema.$ref));
  if (schema.const !== undefined && value !== schema.const) return false;
  if (schema.enum !== undefined && !schema.enum.includes(value)) return false;
  if (schema.type !== undefined && ![schema.type].flat().some((type) => isOfType[type]!(value))) return false;
  if (typeof value === 'string' && value.length < (schema.minLength ?? 0)) return false;
  if (Array.isArray(value)) return schema.items === undefined || value.every((one) => fits(one, schema.items!));
  if (typeof value !== 'object' || value === null) return true;
  if ((schema.required ?? []).some((key) => !(key in value))) return false;
  return Object.entries(value).every(([key, member]) => {
    const property = schema.properties?.[key];
    if (property !== undefined) return fits(member, property);
    return schema.additionalProperties === false
      ? false
      : schema.additionalProperties === undefined || fits(member, schema.additionalProperties);
  });
}

/** Names of the messages of an operation. */
function messagesOf(operation: string): string[] {
  return document.operations[operation].messages.map(({ $ref }: { $ref: string }) => {
    const { $ref: target } = resolve<{ $ref: string }>($ref);
    resolve(target);
    return target.split('/').at(-1)!;
  });
}

/** Which messages of the document this one is. */
function kindsOf(operation: string, json: unknown, isBinary: boolean): string[] {
  return messagesOf(operation).filter((name) => {
    const { payload, contentType, 'x-json': header } = messages[name];
    return isBinary ? contentType === 'application/octet-stream' && fits(json, header) : contentType === undefined && fits(json, payload);
  });
}

describe('the AsyncAPI document', () => {
  it('is version 3.0 and its messages are those of its operations', () => {
    expect(document.asyncapi).toBe('3.0.0');
    const named = [...messagesOf('receive'), ...messagesOf('send')];
    expect(named.sort()).toEqual(Object.keys(messages).sort());
    expect(Object.keys(document.channels.inference.messages).sort()).toEqual(named);
  });

  it('has the close codes of the code, and so has the page', () => {
    const codes = Object.fromEntries(Object.entries(CLOSE_CODES));
    expect(document.channels.inference['x-close-codes']).toEqual(codes);
    const rows = [...page.matchAll(/^\| (\d{4}) \| (.+) \|$/gm)].map(([, code, text]) => [code, text]);
    expect(Object.fromEntries(rows)).toEqual(codes);
  });

  it('has the error codes and datatypes of the code', () => {
    expect(schemas.Error.properties.code.enum).toEqual(Object.keys(STATUS_FORMS));
    expect([...schemas.Tensor.properties.datatype.enum].sort()).toEqual(Object.keys(DATATYPES).sort());
  });

  it('has the message types of the code', () => {
    const types = [schemas.InferRequest, schemas.Cancel].map((schema) => schema.properties.type.const);
    expect(types).toEqual(MESSAGE_TYPES);
  });

  it('lists only members that the server reads', async () => {
    for (const member of Object.keys(schemas.InferRequest.properties)) {
      const held = await HeldSession.open();
      held.text(echo('x', { [member]: -5 }));
      expect(held.connection.close_?.reason ?? held.last.json.error, member).toContain(`'${member}'`);
    }
  });

  it('describes every message that a session sends, as one kind, and none that it does not send', async () => {
    const held = await HeldSession.open();
    held.text(echo('text'));
    held.answer('text', { seed: 1, note: 'x' });
    held.binary(echoHeader('binary', { parameters: { binary_data_output: true } }), onesBytes);
    held.answer('binary');
    held.text(stream('s'));
    const request = held.takeHeld('s');
    request.stream(responseTo(request, new Uint8Array(4)));
    request.complete();
    held.text(echo('unknown', { model_name: 'none' }));
    held.text(stream('cancelled'));
    held.text({ type: 'cancel', id: 'cancelled' });
    held.admission.drain();
    held.text(echo('drained'));
    const kinds = held.messages.map(({ json, isBinary }: Message) => kindsOf('send', json, isBinary));
    expect(kinds.map((one) => one.length)).toEqual(held.messages.map(() => 1));
    expect(held.last.json.retry_after).toBe(1);
    expect([...new Set(kinds.flat())].sort()).toEqual(messagesOf('send').sort());
  });
});

describe('the page', () => {
  const blocks = (who: string): unknown[] =>
    [...page.matchAll(/```json (client|server)\n([\s\S]+?)```/g)]
      .filter(([, side]) => side === who)
      .flatMap(([, , text]) =>
        text!
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      );

  it.each([
    ['client', 'receive', ['cancel', 'inferText']],
    ['server', 'send', ['error', 'responseText']],
  ])('has examples of the %s that the document describes', (who, operation, expected) => {
    const kinds = blocks(who).map((json) => kindsOf(operation, json, false));
    expect(kinds.map((one) => one.length)).toEqual(kinds.map(() => 1));
    expect([...new Set(kinds.flat())].sort()).toEqual(expected);
  });
});
