import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeModelConfig } from './encode-model-config.ts';
import { anyModelConfig } from './model-config.case.ts';
import { type ConfigFormat, parseConfigDocument, parseModelConfig } from './parse-model-config.ts';
import { writeConfigDocument } from './write-config-document.ts';

const formats: readonly ConfigFormat[] = ['pbtxt', 'json', 'yaml'];

/** Of a map's entry whose key has escapes, empty lists are lost in pbtxt: it has no difference between an empty list and none. */
function withoutEmptyLists(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutEmptyLists);
  const members = Object.entries(value).filter(([, member]) => !(Array.isArray(member) && member.length === 0));
  return Object.fromEntries(members.map(([key, member]) => [key, withoutEmptyLists(member)]));
}

describe('writeConfigDocument', () => {
  test('any configuration comes back from each format, by way of each other', () => {
    fc.assert(
      fc.property(anyModelConfig, fc.constantFrom(...formats), fc.constantFrom(...formats), (config, first, second) => {
        const json = JSON.stringify(encodeModelConfig(config));
        fc.pre(Buffer.from(json).toString() === json && !/\\ud[89a-f]/i.test(json) && Buffer.byteLength(json) < 20_000);
        let document = parseConfigDocument(json, 'json', 'a');
        const before = document;
        for (const format of [first, second]) document = parseConfigDocument(writeConfigDocument(document, format), format, format);
        expect(withoutEmptyLists(document)).toEqual(withoutEmptyLists(before));
        expect(parseModelConfig(writeConfigDocument(document, second), second, 'c')).toEqual(config);
      }),
      { numRuns: 150 },
    );
  });

  test('what is written survives, defaults and order too, and nothing is added', () => {
    const text =
      'max_batch_size: 0\nname: "a\\"\\n\\001ü"\noutput {\n  name: "Y"\n  dims: [1, 2]\n}\nmodel_transaction_policy {\n  decoupled: false\n}\nmetric_tags { key: "t" value: "b" }\ndynamic_batching { }\ninput: []\n';
    const document = parseConfigDocument(text, 'pbtxt', 'p');
    expect(Object.keys(document)).toEqual([
      'max_batch_size',
      'name',
      'output',
      'model_transaction_policy',
      'metric_tags',
      'dynamic_batching',
      'input',
    ]);
    expect(writeConfigDocument(document, 'pbtxt')).toBe(text);
    expect(writeConfigDocument(document, 'json')).toBe(
      `{\n  "max_batch_size": 0,\n  "name": "a\\"\\n\\u0001ü",\n  "output": [\n    {\n      "name": "Y",\n      "dims": [1, 2]\n    }\n  ],\n  "model_transaction_policy": {\n    "decoupled": false\n  },\n  "metric_tags": {\n    "t": "b"\n  },\n  "dynamic_batching": {},\n  "input": []\n}\n`,
    );
  });

  test.each(['9223372036854775807', '-9223372036854775808', '9007199254740993'])('the integer %s is exact in every format', (integer) => {
    const texts: [ConfigFormat, string][] = [
      ['pbtxt', `version_policy { specific { versions: [${integer}] } }`],
      ['json', `{"versionPolicy":{"specific":{"versions":[${integer}]}}}`],
      ['yaml', `version_policy: {specific: {versions: [${integer}]}}`],
    ];
    for (const [format, text] of texts) {
      const document = parseConfigDocument(text, format, 'x');
      expect(document).toEqual({ version_policy: { specific: { versions: [BigInt(integer)] } } });
      for (const to of formats) expect(parseConfigDocument(writeConfigDocument(document, to), to, 'y')).toEqual(document);
    }
  });

  test('an integer beyond 64 bits, and half a surrogate pair as pbtxt, are refused', () => {
    expect(() => parseConfigDocument('{"version_policy":{"specific":{"versions":[9223372036854775808]}}}', 'json', 'x')).toThrow(
      'version_policy.specific.versions[0]: expected an integer from -9223372036854775808 to 9223372036854775807, got 9223372036854775808',
    );
    expect(() => writeConfigDocument({ name: '\ud800' }, 'pbtxt')).toThrow('surrogate');
  });
});
