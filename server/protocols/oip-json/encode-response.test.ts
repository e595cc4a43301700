import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../../proto/float16.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest, type RequestedOutput } from '../../inference/inference-request.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import type { HttpBody, HttpExchange } from '../../transports/http-exchange.ts';
import { respondInference } from '../oip-rest/respond-inference.ts';
import type { AnswerSource } from './encode-response.ts';
import { scanTensorData } from './number-scanner.ts';

const caller: InferenceCaller = {
  onResponse: () => undefined,
  onComplete: () => undefined,
  onError: () => undefined,
};
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

function answer(
  outputs: readonly Tensor[],
  requested: readonly RequestedOutput[] = [],
  more: { id?: string; parameters?: Record<string, string | number | boolean>; source?: AnswerSource } = {},
): Answer {
  const answers: Answer[] = [];
  const exchange: HttpExchange = {
    method: 'POST',
    path: '/v2/models/m/infer',
    query: '',
    params: ['m'],
    header: () => '',
    body: new Uint8Array(),
    isAborted: false,
    abortListener: null,
    respond(status, headers, body: HttpBody) {
      const fields: Record<string, string> = {};
      for (let i = 0; i < headers.length; i += 2) fields[headers[i]!] = headers[i + 1]!;
      const pieces = typeof body === 'string' ? [Buffer.from(body)] : body instanceof Uint8Array ? [body] : body;
      answers.push({ status, headers: fields, body: Buffer.concat(pieces) });
    },
    startStream: () => expect.fail('an inference answer is not streamed'),
  };
  const request = new InferenceRequest({
    modelName: 'm',
    modelVersion: '3',
    id: more.id ?? '',
    inputs: [],
    outputs: requested,
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
  const source = more.source ?? { maxBatchSize: 0, outputs: outputs.map(({ name }) => ({ name, labels: null })) };
  respondInference(exchange, request, new InferenceResponse('m', '3', outputs, more.parameters ?? null, timing), source);
  expect(answers).toHaveLength(1);
  return answers[0]!;
}

function json(
  answered: Answer,
): { outputs: { name: string; data?: unknown[]; parameters?: unknown; shape: number[] }[] } & Record<string, unknown> {
  const length = answered.headers['inference-header-content-length'];
  return JSON.parse(answered.body.subarray(0, length === undefined ? answered.body.length : Number(length)).toString('utf8'));
}

/** The text of the one output's `data`, whose numbers JSON.parse may not hold. */
function dataText(answered: Answer): string {
  const text = answered.body.toString('utf8');
  return text.slice(text.indexOf('"data":') + 7, -3);
}

const fixed = (Object.keys(DATATYPES) as Datatype[]).filter((datatype) => datatype !== 'BYTES');

describe('JSON data', () => {
  test.each(fixed)('%s: what the request side reads back is the same bytes', (datatype) => {
    const size = byteSizeOf(datatype);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(3), (random, offset) => {
        const count = Math.floor(Math.max(0, random.length - offset) / size);
        // A view that need not begin where a typed array could.
        const data = random.subarray(random.length - count * size);
        if (datatype === 'BOOL') for (let i = 0; i < count; i++) data[i]! &= 1;
        const text = Buffer.from(dataText(answer([{ name: 'Y', datatype, shape: [count], data }])));
        expect(JSON.parse(text.toString())).toHaveLength(count);
        const back = scanTensorData(text, 0, 0, 'Y', datatype, [count], count).data;
        for (let i = 0; i < count; i++) {
          const one = data.subarray(i * size, (i + 1) * size);
          // Every not-a-number comes back as the quiet one.
          if (isNanBytes(datatype, one)) expect(isNanBytes(datatype, back.subarray(i * size, (i + 1) * size))).toBe(true);
          else expect([...back.subarray(i * size, (i + 1) * size)]).toEqual([...one]);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('all 65,536 FP16 and BF16 come back, in few digits', () => {
    const data = new Uint8Array(new Uint16Array(Array.from({ length: 65_536 }, (_, i) => i)).buffer);
    for (const [datatype, widen] of [
      ['FP16', fromFp16],
      ['BF16', fromBf16],
    ] as const) {
      const text = dataText(answer([{ name: 'Y', datatype, shape: [65_536], data }]));
      const back = new Uint16Array(scanTensorData(Buffer.from(text), 0, 0, 'Y', datatype, [65_536], 65_536).data.buffer);
      for (let bits = 0; bits < 65_536; bits++)
        if (!Number.isNaN(widen(bits)) && back[bits] !== bits) throw new Error(`${datatype} ${bits} came back as ${back[bits]}`);
      for (const one of text.slice(1, -1).split(','))
        if (one[0] !== '"') expect(one.replace(/e.*|[-.]/g, '').replace(/^0+|0+$/g, '').length).toBeLessThanOrEqual(5);
    }
  });

  test('more numbers than one chunk, past the kept buffer, and the writer is as good as new after it', () => {
    const values = Float32Array.from({ length: 300_000 }, (_, i) => Math.fround(Math.sin(i) * 1e3));
    const tensor: Tensor = { name: 'Y', datatype: 'FP32', shape: [values.length], data: new Uint8Array(values.buffer) };
    const first = answer([tensor]);
    expect(Float32Array.from(json(first).outputs[0]!.data as number[])).toEqual(values);
    expect(answer([tensor]).body.equals(first.body)).toBe(true);
  });

  test('64-bit integers keep all their digits', () => {
    const ends = new BigInt64Array([-(2n ** 63n), 2n ** 63n - 1n, 9007199254740993n, 0n]);
    expect(dataText(answer([{ name: 'Y', datatype: 'INT64', shape: [4], data: new Uint8Array(ends.buffer) }]))).toBe(
      '[-9223372036854775808,9223372036854775807,9007199254740993,0]',
    );
    expect(dataText(answer([{ name: 'Y', datatype: 'UINT64', shape: [4], data: new Uint8Array(ends.buffer) }]))).toBe(
      '[9223372036854775808,9223372036854775807,9007199254740993,0]',
    );
  });

  test('NaN and the infinities are strings: the JSON stays JSON', () => {
    const data = new Uint8Array(new Float32Array([Number.NaN, Infinity, -Infinity, 1]).buffer);
    expect(json(answer([{ name: 'Y', datatype: 'FP32', shape: [4], data }])).outputs[0]!.data).toEqual(['NaN', 'Infinity', '-Infinity', 1]);
  });

  test('BYTES are JSON strings, whatever text they hold', () => {
    const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }), fc.string({ minLength: 64, maxLength: 200 }));
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), (values) => {
        const data = encodeBytes(values);
        const answered = answer([{ name: 'Y', datatype: 'BYTES', shape: [values.length], data }]);
        expect(json(answered).outputs[0]!.data).toEqual(values);
        const back = scanTensorData(Buffer.from(dataText(answered)), 0, 0, 'Y', 'BYTES', [values.length], values.length).data;
        expect(Buffer.from(back).equals(Buffer.from(data))).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test('BYTES that are no UTF-8: an error that names the output, not broken JSON', () => {
    const tensor: Tensor = { name: 'Y', datatype: 'BYTES', shape: [2], data: encodeBytes(['a', Uint8Array.of(0xff)]) };
    try {
      answer([tensor]);
      throw new Error('not refused');
    } catch (error) {
      expect(error).toBeInstanceOf(InferenceError);
      expect((error as InferenceError).message).toContain("output 'Y': element 1 is not valid UTF-8");
      expect((error as InferenceError).message).toContain('binary_data');
    }
    const binary = answer([tensor], [{ name: 'Y', classification: 0, binaryData: true }]);
    expect(binary.body.subarray(-10).equals(Buffer.from(tensor.data))).toBe(true);
  });
});

function isNanBytes(datatype: Datatype, bytes: Uint8Array): boolean {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  if (datatype === 'FP32') return Number.isNaN(view.getFloat32(0, true));
  if (datatype === 'FP64') return Number.isNaN(view.getFloat64(0, true));
  if (datatype === 'FP16') return Number.isNaN(fromFp16(view.getUint16(0, true)));
  return datatype === 'BF16' && Number.isNaN(fromBf16(view.getUint16(0, true)));
}

describe('the envelope', () => {
  const a: Tensor = { name: 'A', datatype: 'INT32', shape: [1, 2], data: new Uint8Array(Int32Array.of(1, -2).buffer) };
  const b: Tensor = { name: 'B', datatype: 'UINT8', shape: [3], data: Uint8Array.of(7, 8, 9) };
  const empty: Tensor = { name: 'C', datatype: 'FP32', shape: [0], data: new Uint8Array() };

  test('keys and their order', () => {
    const answered = answer([a, b], [], { id: 'x"\u00e9\n', parameters: { n: 1.5, s: '\u20ac', t: true } });
    expect(answered.body.toString('utf8')).toBe(
      '{"id":"x\\"\u00e9\\n","model_name":"m","model_version":"3","parameters":{"n":1.5,"s":"\u20ac","t":true},"outputs":[{"name":"A","datatype":"INT32","shape":[1,2],"data":[1,-2]},{"name":"B","datatype":"UINT8","shape":[3],"data":[7,8,9]}]}',
    );
    expect(answered.headers).toEqual({ 'content-type': 'application/json' });
    expect(answered.status).toBe(200);
    expect(answer([a]).body.toString()).toBe(
      '{"model_name":"m","model_version":"3","outputs":[{"name":"A","datatype":"INT32","shape":[1,2],"data":[1,-2]}]}',
    );
  });

  test('binary outputs follow the JSON in its order, and JSON outputs stay in it', () => {
    const answered = answer(
      [a, empty, b],
      [
        { name: 'B', classification: 0, binaryData: true },
        { name: 'C', classification: 0, binaryData: true },
        { name: 'A', classification: 0, binaryData: true },
      ],
    );
    expect(answered.headers['content-type']).toBe('application/octet-stream');
    const length = Number(answered.headers['inference-header-content-length']);
    expect([...answered.body.subarray(length)]).toEqual([1, 0, 0, 0, 254, 255, 255, 255, 7, 8, 9]);
    expect(json(answered).outputs.map((output) => output.parameters)).toEqual([
      { binary_data_size: 8 },
      { binary_data_size: 0 },
      { binary_data_size: 3 },
    ]);

    const mixed = answer(
      [a, b],
      [
        { name: 'A', classification: 0, binaryData: false },
        { name: 'B', classification: 0, binaryData: true },
      ],
    );
    expect(json(mixed).outputs.map((output) => output.data)).toEqual([[1, -2], undefined]);
  });

  test('without one byte of binary data there is no binary answer', () => {
    const answered = answer([empty], [{ name: 'C', classification: 0, binaryData: true }]);
    expect(answered.headers).toEqual({ 'content-type': 'application/json' });
    expect(json(answered).outputs[0]!.parameters).toEqual({ binary_data_size: 0 });
  });

  test('a classification is of BYTES, in JSON or binary', () => {
    const scores: Tensor = { name: 'S', datatype: 'FP32', shape: [1, 3], data: new Uint8Array(Float32Array.of(0.25, 0.5, 0.25).buffer) };
    const source: AnswerSource = { maxBatchSize: 8, outputs: [{ name: 'S', labels: ['cat', 'dog'] }] };
    const asText = answer([scores], [{ name: 'S', classification: 5, binaryData: false }], { source });
    expect(json(asText).outputs[0]).toEqual({
      name: 'S',
      datatype: 'BYTES',
      shape: [1, 3],
      data: ['0.500000:1:dog', '0.250000:0:cat', '0.250000:2'],
    });
    const asBytes = answer([scores], [{ name: 'S', classification: 1, binaryData: true }], { source });
    expect(asBytes.body.subarray(Number(asBytes.headers['inference-header-content-length'])).toString('latin1')).toBe(
      '\x0e\0\0\x000.500000:1:dog',
    );
  });
});
