import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identity } from '../../../bench/models/test-models.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import { PreparedModels, type TestFiles } from './prepared-models.case.ts';

let models: PreparedModels;

beforeAll(() => {
  models = new PreparedModels({ kind: 'inline' });
});

afterAll(() => models.stop());

const output = (datatype: Datatype, data: string, shape = '[1,2]', name = 'OUTPUT0'): string =>
  `{"name":"${name}","datatype":"${datatype}","shape":${shape},"data":${data},"parameters":{"unknown":1}}`;

/** What identity is given and should answer; numbers as text, for JavaScript's would lose digits. */
function files(datatype: Datatype, given: string, outputs: string, tolerances = '', more = ''): TestFiles {
  const request = `{"inputs":[{"name":"INPUT0","datatype":"${datatype}","shape":[1,2],"data":${given}}]${more}}`;
  return {
    'config.pbtxt': `backend: "onnxruntime" golden_check { name: "gold" file: "g.json" ${tolerances} }`,
    '1/model.onnx': identity(datatype, ['batch', 2]),
    'golden/g.json': `{"response": {"model_name": "m", "outputs": [${outputs}]}, "request": ${request}}`,
  };
}

describe('a golden check', () => {
  it.each<[Datatype, string, string, string]>([
    ['INT64', '[9007199254740993,-9223372036854775808]', '[9007199254740993,-9223372036854775808]', ''],
    ['UINT64', '[18446744073709551615,0]', '[18446744073709551615,0]', ''],
    ['BOOL', '[true,false]', '[true,false]', ''],
    ['BYTES', '["a","\\u00e9]}\\""]', '["a","\\u00e9]}\\""]', ''],
    ['FP32', '["NaN","-Infinity"]', '["NaN","-Infinity"]', ''],
    ['FP32', '[0.1,-0]', '[0.1,0]', ''],
    ['FP32', '[100.5,-2]', '[100,-2.25]', 'absolute_tolerance: 0.25 relative_tolerance: 0.0025'],
    ['FP64', '[1e300,1]', '[1.001e300,1]', 'relative_tolerance: 1e-3'],
    ['FP16', '[1,2]', '[1.5,2]', 'absolute_tolerance: 0.5'],
    ['BF16', '[1,2]', '[1.5,2]', 'absolute_tolerance: 0.5'],
  ])('of %s holds: %s is %s, %s', async (datatype, given, expected, tolerances) => {
    const { stages, model } = await models.prepare(files(datatype, given, output(datatype, expected), tolerances));
    expect(stages).toEqual(['golden_check']);
    expect(model.reporter.executionCount).toBe(0);
  });

  it.each<[Datatype, string, string, string, string]>([
    [
      'INT64',
      '[1,9007199254740993]',
      '[1,9007199254740992]',
      'absolute_tolerance: 5',
      'at [0,1]: expected 9007199254740992, got 9007199254740993; it must be equal',
    ],
    ['UINT8', '[1,2]', '[2,2]', 'relative_tolerance: 9', 'at [0,0]: expected 2, got 1; it must be equal'],
    ['BOOL', '[true,false]', '[true,true]', '', 'at [0,1]: expected true, got false; it must be equal'],
    ['BYTES', '["a","b"]', '["a","bc"]', '', 'at [0,1]: expected "bc", got "b"; it must be equal'],
    [
      'FP32',
      '[1,2]',
      '[1,2.5]',
      'absolute_tolerance: 0.25',
      'at [0,1]: expected 2.5, got 2; it may differ by 0.25 (absolute_tolerance 0.25 + relative_tolerance 0 * |expected|)',
    ],
    ['FP32', '["NaN",2]', '[0,2]', 'absolute_tolerance: 1e30', 'at [0,0]: expected 0, got NaN; it may differ by 1e+30'],
    [
      'FP32',
      '[1,"Infinity"]',
      '[1,1e38]',
      'absolute_tolerance: 1e300 relative_tolerance: 1e300',
      'at [0,1]: expected 1e+38, got Infinity; it may differ by',
    ],
    ['FP64', '[1,1e308]', '[1,"Infinity"]', 'relative_tolerance: 1', 'at [0,1]: expected Infinity, got 1e+308; it must be equal'],
  ])('of %s fails: %s is not %s, %s', async (datatype, given, expected, tolerances, message) => {
    const refusal = await models.refusal(files(datatype, given, output(datatype, expected), tolerances));
    expect(refusal.code).toBe('INVALID_ARGUMENT');
    expect(refusal.message).toContain(`golden check 'gold' of model 'm' version 1 failed: output 'OUTPUT0' ${message}`);
  });

  const wrong = (outputs: string, more = ''): TestFiles => files('FP32', '[1,2]', outputs, '', more);
  it.each<[string, TestFiles, string]>([
    ['another datatype', wrong(output('FP64', '[1,2]')), "output 'OUTPUT0': expected FP64, got FP32"],
    ['another shape', wrong(output('FP32', '[1,2]', '[2]')), "output 'OUTPUT0': expected the shape [2], got [1,2]"],
    [
      'an unknown output',
      wrong(output('FP32', '[1,2]', '[1,2]', 'OUTPUTO')),
      "the answer has no output 'OUTPUTO'; did you mean 'OUTPUT0'? It has 'OUTPUT0'",
    ],
    ['too few numbers', wrong(output('FP32', '[1]')), 'response: '],
    ['no outputs', wrong(''), 'response: expected at least one output, got none'],
    ['a request that the model has not', files('FP32', '[1,2,3]', output('FP32', '[1,2]')), 'inputs[0] (INPUT0)'],
    [
      'a classification',
      wrong(output('FP32', '[1,2]'), ',"outputs":[{"name":"OUTPUT0","parameters":{"classification":1}}]'),
      "remove 'classification'",
    ],
    ['a file without a response', { ...wrong(''), 'golden/g.json': '{"request": {}, "respons": {}}' }, "Unable to parse 'inputs'"],
    ['a file that is no object', { ...wrong(''), 'golden/g.json': '[]' }, 'not JSON as expected: at byte 0 there should be an object'],
  ])('refuses %s', async (_what, given, message) => {
    expect((await models.refusal(given)).message).toContain(message);
  });

  it('names what the file lacks', async () => {
    const whole = wrong(output('FP32', '[1,2]'));
    const text = String(whole['golden/g.json']).replace('"response"', '"respons"');
    expect((await models.refusal({ ...whole, 'golden/g.json': text })).message).toContain(
      "the file has no 'response'; did you mean 'respons'?",
    );
  });
});
