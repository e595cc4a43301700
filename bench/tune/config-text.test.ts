import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ConfigFile, editConfigText, readConfigFile, writeConfigFile } from './config-file.ts';
import { editPbtxt } from './edit-pbtxt.ts';
import { editYaml } from './edit-yaml.ts';
import { type FieldEdit, knobEdits, withEdits } from './knob-edits.ts';
import type { ConfigDocument, Knobs } from './knobs.ts';
import { lineDifference } from './line-difference.ts';
import { scanPbtxt } from './scan-pbtxt.ts';

const FROM: Knobs = { maxBatchSize: 8, queueDelayUs: 0, instances: 1, threads: 1, host: 'process' };
const TO: Knobs = { maxBatchSize: 32, queueDelayUs: 500, instances: 2, threads: 4, host: 'process' };
const THREADS = { name: 'intra_op_thread_count', whenUnset: 1 };

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nereid-tune-test-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function edited(name: string, text: string, from: Knobs = FROM, to: Knobs = TO): Promise<string | null> {
  await writeFile(join(directory, name), text);
  const file = await readConfigFile(directory);
  return editConfigText(file, knobEdits(file.document, from, to, THREADS));
}

describe('pbtxt', () => {
  test('fields that are there are set where they are, and comments stay', async () => {
    const text = `# A model.
name: "m"   # its name
max_batch_size: 8 # of rows
dynamic_batching {
  # The delay.
  max_queue_delay_microseconds: 0
  preferred_batch_size: [ 4, 8 ]
}
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
`;
    expect(await edited('config.pbtxt', text)).toBe(
      text
        .replace('max_batch_size: 8', 'max_batch_size: 32')
        .replace('microseconds: 0', 'microseconds: 500')
        .replace('count: 1', 'count: 2')
        .replace('string_value: "1"', 'string_value: "4"'),
    );
  });

  test('fields that are not there are added where they belong', async () => {
    const text = `max_batch_size: 8
dynamic_batching { }
instance_group {
  # Here.
  kind: KIND_CPU
}`;
    expect(await edited('config.pbtxt', text)).toBe(`max_batch_size: 32
dynamic_batching { max_queue_delay_microseconds: 500 }
instance_group {
  # Here.
  kind: KIND_CPU
  count: 2
}
parameters { key: "intra_op_thread_count" value { string_value: "4" } }
`);
  });

  test('an empty file', async () => {
    expect(await edited('config.pbtxt', '')).toBe(`max_batch_size: 32
dynamic_batching { max_queue_delay_microseconds: 500 }
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value { string_value: "4" } }
`);
  });

  test('preferred sizes that are one field each become a list; another parameter stays', async () => {
    const text = `max_batch_size: 8
dynamic_batching { preferred_batch_size: 4 preferred_batch_size: 8 }
parameters: [ { key: "a" value: { string_value: "}{ \\" #" } }, { key: 'intra_op_thread_count', value: { string_value: '1' } } ]
`;
    const result = await edited('config.pbtxt', text, FROM, { ...FROM, maxBatchSize: 4, threads: 2 });
    expect(result).toContain('preferred_batch_size: [ 4 ]');
    expect(result).toContain('{ string_value: "}{ \\" #" }');
    expect(result).toContain('string_value: "2"');
  });

  test('scanning finds every field of a text, whatever stands in its strings and comments', () => {
    const name = fc.stringMatching(/^[a-z_]{1,8}$/);
    const scalar = fc.oneof(
      fc.integer().map(String),
      fc.string({ maxLength: 10 }).map((text) => JSON.stringify(text)),
      fc.constantFrom('true', 'KIND_CPU', '1.5e3', "'}'", '"a" \'b\''),
    );
    const space = fc.constantFrom(' ', '\n', '  # } " comment\n', '\t');
    const { message } = fc.letrec<{ message: string }>((tie) => ({
      message: fc
        .array(
          fc.tuple(
            name,
            space,
            fc.oneof(
              { depthSize: 'small', withCrossShrink: true },
              scalar.map((value) => `: ${value}`),
              tie('message').map((inner) => ` {${inner}}`),
              fc.array(scalar, { maxLength: 3 }).map((list) => `: [${list.join(', ')}]`),
            ),
            space,
            fc.constantFrom('', ',', ';'),
          ),
          { maxLength: 4 },
        )
        .map((fields) => fields.map((parts) => parts.join('')).join(' ')),
    }));
    fc.assert(
      fc.property(message, (text) => {
        const root = scanPbtxt(text);
        expect(root).not.toBeNull();
        const added = editPbtxt(text, { path: ['max_batch_size_'], value: 7 });
        expect(added?.startsWith(text)).toBe(true);
        expect(scanPbtxt(added!)!.fields.length).toBe(root!.fields.length + 1);
      }),
    );
  });

  test.each(['a', 'a: ', 'a {', 'a: }', 'a: [1', '"a": 1', 'a: "x', 'a { ] }', 'a: 1 }', 'a: \u00e9'])('no text format: %s', (text) => {
    expect(scanPbtxt(text)).toBeNull();
  });
});

describe('YAML', () => {
  test('comments and layout stay', async () => {
    const text = `# yaml-language-server: $schema=x
# A model.
max_batch_size: 8   # rows

dynamic_batching: { preferred_batch_size: [4,   8] }   # soon
instance_group:
  - kind: KIND_CPU   # here
    count: 1
parameters:
  intra_op_thread_count: 1   # one
  # the rest
  other: x
`;
    expect(await edited('config.yaml', text)).toBe(
      text
        .replace('max_batch_size: 8', 'max_batch_size: 32')
        .replace('[4,   8] }', '[4,   8], max_queue_delay_microseconds: 500 }')
        .replace('count: 1', 'count: 2')
        .replace('intra_op_thread_count: 1', 'intra_op_thread_count: 4'),
    );
  });

  test('fields that are not there are added', async () => {
    const text = `max_batch_size: 8
dynamic_batching:
  # nothing preferred
  preserve_ordering: true
input:
  - name: x
    data_type: TYPE_FP32
    dims: [1]
`;
    const result = (await edited('config.yaml', text))!;
    expect(result).toContain('# nothing preferred\n  preserve_ordering: true\n');
    expect(result).toContain('\n  max_queue_delay_microseconds: 500\n');
    expect(result).toContain('instance_group: [{ count: 2, kind: KIND_CPU }]\n');
    expect(result).toContain('parameters: { intra_op_thread_count: 4 }\n');
  });

  test.each(['', '# only a comment\n', '{}', 'backend: onnxruntime'])('a file that says nothing: %j', async (text) => {
    const result = await edited('config.yaml', text);
    expect(result).toContain('max_batch_size: 32');
    if (text.startsWith('#')) expect(result).toContain('# only a comment\n');
  });

  test('what is written in another way than is known is not touched', async () => {
    expect(await edited('config.yaml', 'maxBatchSize: 8\n')).toBeNull();
    expect(await edited('config.yaml', 'max_batch_size: &size 8\ndynamic_batching: { priority_levels: *size }\n')).toBeNull();
  });
});

describe('JSON', () => {
  test('layout and long numbers stay', async () => {
    const text = `{
  "max_batch_size": 8,
  "dynamic_batching": {},
  "input": [{ "name": "x", "data_type": "TYPE_FP32", "dims": [1, 8] }],
  "parameters": { "intra_op_thread_count": { "string_value": "1" }, "n": { "string_value": "12345678901234567890" } }
}
`;
    const result = await edited('config.json', text);
    expect(result).toBe(
      text
        .replace('size": 8', 'size": 32')
        .replace('batching": {}', 'batching": { "max_queue_delay_microseconds": 500 }')
        .replace('"1"', '"4"')
        .replace(' }\n}\n', ' },\n  "instance_group": [{ "count": 2, "kind": "KIND_CPU" }]\n}\n'),
    );
    expect(JSON.parse(result!)).toMatchObject({ max_batch_size: 32 });
  });

  test('on one line', async () => {
    expect(JSON.parse((await edited('config.json', '{"max_batch_size":8}'))!)).toEqual({
      max_batch_size: 32,
      dynamic_batching: { max_queue_delay_microseconds: 500 },
      instance_group: [{ count: 2, kind: 'KIND_CPU' }],
      parameters: { intra_op_thread_count: { string_value: '4' } },
    });
  });
});

test('a model without a configuration gets one', async () => {
  await mkdir(join(directory, '1'));
  const file = await readConfigFile(directory);
  expect(file).toMatchObject({ exists: false, path: join(directory, 'config.yaml') });
  const text = await editConfigText(file, knobEdits(file.document, FROM, { ...FROM, instances: 2 }, THREADS));
  expect(text).toBe('instance_group: [{ count: 2, kind: KIND_CPU }]\n');
  await writeConfigFile(file, text!);
  expect(await readFile(file.path, 'utf8')).toBe(text);
  expect((await readdir(directory)).sort()).toEqual(['1', 'config.yaml']);
});

describe('what is not written', () => {
  const file = async (): Promise<ConfigFile> => {
    await writeFile(join(directory, 'config.yaml'), 'max_batch_size: 8\n');
    return readConfigFile(directory);
  };

  test('a file that has changed', async () => {
    const read = await file();
    await writeFile(read.path, 'max_batch_size: 9\n');
    await expect(writeConfigFile(read, 'max_batch_size: 10\n')).rejects.toThrow(/has changed/);
    expect(await readFile(read.path, 'utf8')).toBe('max_batch_size: 9\n');
  });

  test('a link', async () => {
    await writeFile(join(directory, 'real'), 'max_batch_size: 8\n');
    await symlink('real', join(directory, 'config.yaml'));
    await expect(writeConfigFile(await readConfigFile(directory), 'max_batch_size: 10\n')).rejects.toThrow(/is a link/);
  });

  test('one of two', async () => {
    await file();
    await writeFile(join(directory, 'config.json'), '{}');
    await expect(readConfigFile(directory)).rejects.toThrow(/config\.json and config\.yaml|config\.yaml and config\.json/);
  });

  test('one with a mistake in it', async () => {
    await writeFile(join(directory, 'config.yaml'), 'max_bach_size: 8\n');
    await expect(readConfigFile(directory)).rejects.toThrow(/max_bach_size/);
  });
});

test('edits set what they say and leave the rest, in any document', () => {
  const document: ConfigDocument = { max_batch_size: 8, dynamic_batching: { preferred_batch_size: [8], preserve_ordering: true }, x: [1] };
  expect(withEdits(document, knobEdits(document, FROM, TO, THREADS))).toEqual({
    max_batch_size: 32,
    dynamic_batching: { preferred_batch_size: [32], preserve_ordering: true, max_queue_delay_microseconds: 500 },
    instance_group: [{ count: 2, kind: 'KIND_CPU' }],
    parameters: { intra_op_thread_count: { string_value: '4' } },
    x: [1],
  });
  expect(knobEdits(document, FROM, { ...FROM, host: 'inline' }, THREADS)).toEqual([]);
  const edits: FieldEdit[] = knobEdits({}, { ...FROM, queueDelayUs: -1 }, FROM, THREADS);
  expect(edits).toEqual([{ path: ['dynamic_batching'], value: {} }]);
  expect(editYaml('a: 1', edits[0]!, false)).toBe('a: 1\ndynamic_batching: {}\n');
});

describe('the difference of two texts', () => {
  test('leads from one to the other', () => {
    const lines = fc.array(fc.constantFrom('a', 'b', 'c', ''), { maxLength: 12 });
    fc.assert(
      fc.property(lines, lines, (a, b) => {
        // With so few lines, all of them are near a change or there is none; without context there would be nothing to leave out.
        const text = lineDifference(a.map((line) => `${line}\n`).join(''), b.map((line) => `${line}\n`).join(''));
        const marked = text.split('\n').slice(0, -1);
        const count = (mark: string, of: string): number => marked.filter((line) => line === `${mark} ${of}`).length;
        for (const line of ['a', 'b', 'c', '']) {
          const difference = b.filter((one) => one === line).length - a.filter((one) => one === line).length;
          expect(count('+', line) - count('-', line)).toBe(difference);
        }
        expect(text === '').toBe(a.join('\n') === b.join('\n') && a.length === b.length);
      }),
    );
  });

  test('shows what is around it, and leaves out what is far', () => {
    const before = Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join('');
    expect(lineDifference(before, before.replace('line 10\n', 'new\n').replace('line 0\n', ''))).toBe(
      '- line 0\n  line 1\n  line 2\n  ...\n  line 8\n  line 9\n- line 10\n+ new\n  line 11\n  line 12\n',
    );
  });
});
