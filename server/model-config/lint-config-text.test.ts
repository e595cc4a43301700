import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeModelConfig } from './encode-model-config.ts';
import { lintConfigText } from './lint-config-text.ts';
import { anyModelConfig } from './model-config.case.ts';
import { CONFIG_FILE_FORMATS, type ConfigFormat, parseConfigDocument } from './parse-model-config.ts';
import { writeConfigDocument } from './write-config-document.ts';

const found = (text: string, format: ConfigFormat): string[] =>
  lintConfigText(text, format).findings.map(({ field, line, message }) => `${line} ${field}: ${message}`);

const pbtxt = `# a comment { "
name: "m" max_batchsize: 4
input [
  { name: "X", dtype: 1, data_type: TYPE_FLOAT32, dims: [ 1, 2 ] },
  { name: "Y \\" }"
    dims: 3 dims: 9007199254740993 }
]
parameters { key: "a" value { strng_value: "x" } }
nonsense < a { b: [ 1, 2 ] } >;
instance_group { kind: KIND_CPU cont: 2 }
`;

const yaml = `name: m
max_batchsize: 4
input:
  - name: X
    dtype: 1
    data_type: TYPE_FLOAT32
    dims: [1, a]
  - name: 5
parameters:
  a:
    strng_value: x
`;

describe('lintConfigText', () => {
  test('every mistake of a pbtxt, with its line; the rest is read', () => {
    expect(found(pbtxt, 'pbtxt')).toEqual([
      "2 max_batchsize: unknown field; did you mean 'max_batch_size'?",
      expect.stringContaining('4 input[0].dtype: unknown field; ModelInput has: name'),
      expect.stringMatching(/^4 input\[0\]\.data_type: expected one of TYPE_INVALID.*got TYPE_FLOAT32/),
      '8 parameters["a"].strng_value: unknown field; did you mean \'string_value\'?',
      expect.stringContaining('9 nonsense: unknown field; ModelConfig has'),
      "10 instance_group[0].cont: unknown field; did you mean 'count'?",
      expect.stringContaining('6 input[1].dims[1]: expected an integer from'),
    ]);
    expect(lintConfigText(pbtxt, 'pbtxt').config).toMatchObject({
      name: 'm',
      input: [
        { name: 'X', dims: [1, 2] },
        { name: 'Y " }', dims: [3, 0] },
      ],
    });
  });

  test('every mistake of YAML and JSON, with its line', () => {
    expect(found(yaml, 'yaml')).toEqual([
      "2 max_batchsize: unknown field; did you mean 'max_batch_size'?",
      expect.stringContaining('5 input[0].dtype: unknown field'),
      expect.stringContaining('6 input[0].data_type: expected one of'),
      '7 input[0].dims[1]: expected an integer, got "a"',
      '8 input[1].name: expected a string, got 5; put it in quotes',
      '11 parameters["a"].strng_value: unknown field; did you mean \'string_value\'?',
    ]);
    const json = '{\n  "maxBatchSize": "x",\n\t"input": [\n    {"dataTyp": 1}\n  ],\n  "metric_tags": {"__proto__": "a"}\n}';
    expect(found(json, 'json')).toEqual([
      '2 max_batch_size: expected an integer, got "x"',
      "4 input[0].dataTyp: unknown field; did you mean 'data_type'?",
      '6 metric_tags["__proto__"]: this key is not allowed; choose another',
    ]);
  });

  test.each<[ConfigFormat, string, string]>([
    ['pbtxt', 'name: "a"\nname: "b"', '2 : ModelConfig.name: given twice'],
    ['pbtxt', 'input {\n name: "x" ', 'expected'],
    ['yaml', 'a: [1\nb: 2', '2 : not YAML'],
    ['json', '{"name": }', 'null : not JSON'],
  ])('what is no %s is one finding', (format, text, message) => {
    const { config, findings } = lintConfigText(text, format);
    expect(config).toBeNull();
    expect(findings).toHaveLength(1);
    expect(found(text, format)[0]).toContain(message);
  });

  test('nothing is found in what is right, however it is written', () => {
    const formats = fc.constantFrom<ConfigFormat>('pbtxt', 'json', 'yaml');
    fc.assert(
      fc.property(anyModelConfig, formats, (config, format) => {
        const json = JSON.stringify(encodeModelConfig(config));
        fc.pre(!/\\ud[89a-f]/i.test(json) && json.length < 20_000);
        const linted = lintConfigText(writeConfigDocument(parseConfigDocument(json, 'json', 'a'), format), format);
        expect(linted).toMatchObject({ findings: [], config });
      }),
      { numRuns: 60 },
    );
  });

  test('any text is judged, never thrown over', () => {
    const formats = fc.constantFrom(...Object.values(CONFIG_FILE_FORMATS));
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '<',
      '>',
      ':',
      ',',
      '"',
      '#',
      '\n',
      ' ',
      'input',
      'dims',
      'name',
      '1',
      '-',
      'key',
      'value',
      'parameters',
      '&a',
      '*a',
    );
    fc.assert(
      fc.property(
        fc.array(pieces, { maxLength: 30 }).map((parts) => parts.join('')),
        formats,
        (text, format) => {
          const { config, findings } = lintConfigText(text, format);
          expect(config !== null || findings.length > 0).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});
