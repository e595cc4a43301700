import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { BodyFields, isEmptyContainer } from './body-fields.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('the members of a body', () => {
  it('are found as JSON.parse finds them', () => {
    const values = fc.dictionary(fc.string({ maxLength: 12 }), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 8 });
    fc.assert(
      fc.property(values, fc.constantFrom('', ' ', '\t\n'), (value, indent) => {
        const fields = new BodyFields(bytes(JSON.stringify(value, null, indent)));
        const names = Object.keys(value);
        expect([...fields.names()].sort()).toEqual(names.sort());
        for (const name of names) {
          const raw = fields.rawText(name);
          expect(fields.has(name)).toBe(value[name] !== null);
          expect(raw === null ? null : JSON.parse(raw)).toEqual(JSON.parse(JSON.stringify(value[name])));
        }
      }),
    );
  });

  it('are found, or refused as an argument, whatever the bytes', () => {
    const start = fc.constantFrom('{', '{"prompt":', '{"prompt":[', '{"a":[{', '');
    const tail = fc.string({
      unit: fc.constantFrom('{', '}', '[', ']', '"', ',', ':', '1', '-', '.', 'e', '\\', 'u', 'n', ' ', 'é', 'true', 'null'),
      maxLength: 40,
    });
    fc.assert(
      fc.property(start, tail, (head, rest) => {
        let isJson = true;
        try {
          const parsed: unknown = JSON.parse(head + rest);
          isJson = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
        } catch {
          isJson = false;
        }
        try {
          const fields = new BodyFields(bytes(head + rest));
          // The numbers of a prompt are for its own reader to look at.
          expect(isJson || fields.has('prompt')).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(InferenceError);
          expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('are read by kind', () => {
    const fields = new BodyFields(bytes('{"t":"é","i":5,"n":-1.5e1,"f":false,"o":{},"a":[ ],"z":null}'));
    expect([fields.text('t'), fields.integer('i', 0, 5), fields.number('n'), fields.flag('f')]).toEqual(['é', 5, -15, false]);
    expect([
      fields.text('z'),
      fields.integer('z', 0, 1),
      fields.number('z'),
      fields.flag('z'),
      fields.raw('z'),
      fields.text('none'),
    ]).toEqual(Array.from({ length: 6 }, () => null));
    expect([isEmptyContainer(fields.container('o', 'object')!), isEmptyContainer(fields.container('a', 'array')!)]).toEqual([true, true]);
    expect(() => fields.integer('i', 6, 9)).toThrow('i: expected an integer from 6 to 9, got 5');
    expect(() => fields.text('i')).toThrow('i: expected a string, got 5');
    expect(() => fields.container('t', 'array')).toThrow('t: expected an array, got "é"');
  });

  it.each([
    ['objects', `{"messages":[${'{"":0},'.repeat(1_150_000)}0]}`, 'JSON values'],
    ['arrays', `{"messages":[${'[],'.repeat(2_500_000)}0]}`, 'JSON values'],
    ['members', `{${Array.from({ length: 200_000 }, (_, i) => `"temperatur${i}":1`).join(',')}}`, 'members'],
    ['nesting', `{"messages":${'['.repeat(8_000_000)}`, 'nesting depth'],
  ])('do not hold the loop: %s', (_, body, says) => {
    const body8MiB = bytes(body);
    const startMs = performance.now();
    expect(() => new BodyFields(body8MiB)).toThrow(says);
    // Seconds, where it is not linear.
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  it('are at most 8 MiB together', () => {
    expect(() => new BodyFields(new Uint8Array(8 * 1024 * 1024 + 1))).toThrow(expect.objectContaining({ code: 'RESOURCE_EXHAUSTED' }));
  });
});
