import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AnswerScan } from './scan-answer.ts';
import { readWireId, WIRE_ID_BYTES, writeWireId } from './wire-id.ts';

function idText(id: number): string {
  const bytes = Buffer.alloc(WIRE_ID_BYTES);
  writeWireId(bytes, 0, id);
  return bytes.toString();
}

const wireId = fc.integer({ min: 0, max: 2 ** 32 - 1 });

test('ids there and back', () => {
  fc.assert(
    fc.property(wireId, (id) => {
      expect(readWireId(Buffer.from(idText(id)), 0)).toBe(id);
    }),
  );
  expect(readWireId(Buffer.from('0000000G'), 0)).toBe(-1);
});

type Members = readonly (readonly [string, unknown])[];

/** Strings that look like what is searched for. */
const tricky = fc.oneof(fc.string(), fc.constantFrom('"id":"', '\\', '\\"', '{"error":"', '],"outputs":[', 'triton_final_response', '}'));
const filler: fc.Arbitrary<[string, unknown]> = fc.tuple(tricky, fc.jsonValue());
const outputs = fc.array(fc.record({ name: tricky, data: fc.array(fc.oneof(fc.double(), tricky), { maxLength: 5 }) }), { maxLength: 3 });
const answer = fc
  .record({
    id: wireId,
    final: fc.option(fc.boolean()),
    outputs: fc.option(outputs),
    error: fc.option(tricky),
    others: fc.array(filler, { maxLength: 3 }),
    parameters: fc.array(filler, { maxLength: 3 }),
  })
  .chain((parts) => {
    const own = new Set(['id', 'error', 'outputs', 'parameters', 'triton_final_response']);
    const parameters: Members = [
      ...parts.parameters.filter(([name]) => !own.has(name)),
      ...(parts.final === null ? [] : ([['triton_final_response', parts.final]] as const)),
    ];
    const members: Members = [
      ['id', idText(parts.id)],
      ['parameters', new Map(parameters)],
      ...(parts.outputs === null || parts.error !== null ? [] : ([['outputs', parts.outputs]] as const)),
      ...(parts.error === null ? [] : ([['error', parts.error]] as const)),
      ...parts.others.filter(([name]) => !own.has(name)),
    ];
    return fc.shuffledSubarray([...members], { minLength: members.length }).map((shuffled) => ({ ...parts, members: shuffled }));
  });

function write(members: Iterable<readonly [string, unknown]>, blank: string): string {
  const texts = [...members].map(
    ([name, value]) =>
      `${blank}${JSON.stringify(name)}${blank}:${blank}${value instanceof Map ? write(value, blank) : JSON.stringify(value)}`,
  );
  return `{${texts.join(`${blank},`)}${blank}}`;
}

test('whose it is, whether it is the last and whether it is an error, in any order of members', () => {
  fc.assert(
    fc.property(
      answer,
      fc.constantFrom('', ' ', '\n\t '),
      fc.boolean(),
      fc.nat(),
      ({ id, final, error, outputs: tensors, members }, blank, isText, cut) => {
        const json = Buffer.from(write(members, blank));
        const length = Buffer.alloc(4);
        length.writeUInt32LE(json.length);
        const bytes = isText ? json : Buffer.concat([length, json, Buffer.from('}{"tensor"')]);
        const scan = new AnswerScan();
        expect(scan.scan(isText, bytes, 0, bytes.length)).toBe(true);
        expect(scan.id).toBe(id);
        expect(scan.isError).toBe(error !== null);
        if (error === null) {
          expect(scan.isFinal).toBe(final ?? true);
          expect(scan.hasOutputs).toBe((tensors?.length ?? 0) > 0);
        }
        // The beginning says the same or says that it is not enough.
        if (!scan.scan(isText, bytes, 0, cut % bytes.length)) return;
        expect(scan.id).toBe(id);
        if (scan.isError || error !== null) return;
        expect(scan.isFinal).toBe(final ?? true);
      },
    ),
  );
});

test('never reads beyond the end, nor forever', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'{}[]",:\\ tfid0e'), maxLength: 60 }), (text) => {
      const scan = new AnswerScan();
      const bytes = Buffer.from(text);
      if (scan.scan(true, bytes, 0, bytes.length)) expect(scan.id).toBeGreaterThanOrEqual(0);
    }),
    { numRuns: 1000 },
  );
});

test.each(['', '[]', '{}', '{"id":"short"}', '{"id":7}', '{"id":"0000000z"}', '{"id":"00000001"', 'null'])('%s is no answer', (text) => {
  expect(new AnswerScan().scan(true, Buffer.from(text), 0, text.length)).toBe(false);
});

test('knows enough before the tensors', () => {
  const head = '{"id":"00000005","model_name":"m","model_version":"1","parameters":{"triton_final_response":false},"outputs":[{';
  const scan = new AnswerScan();
  expect(scan.scan(true, Buffer.from(head), 0, head.length)).toBe(true);
  expect([scan.id, scan.isFinal, scan.hasOutputs]).toEqual([5, false, true]);
});
