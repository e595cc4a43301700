import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeOnnxModel, type OnnxGraph } from '../../bench/models/onnx-model.ts';
import { identity, scalarIdentity } from '../../bench/models/test-models.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { failureOf, modelSpec, run, tensor } from '../api/backend.case.ts';
import type { Backend, Model, ModelInstance, ModelSpec } from '../api/backend.ts';
import type { ModelConfig, ModelInput } from '../api/model-config.ts';
import { createBackend } from './index.ts';

const directory = mkdtempSync(join(tmpdir(), 'nereid-model-signature-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function specOf(name: string, content: Uint8Array | string, config: Partial<ModelConfig> = {}): ModelSpec {
  const path = join(directory, `${files++}-${name}.onnx`);
  writeFileSync(path, content);
  return modelSpec(name, path, config);
}

describe('the signature of a model', () => {
  let backend: Backend;

  beforeAll(async () => {
    backend = await createBackend({ settings: {} });
  });
  afterAll(async () => {
    await backend.close();
  });

  async function withModel(spec: ModelSpec, use: (instance: ModelInstance, model: Model) => unknown): Promise<void> {
    const model = await backend.load(spec);
    try {
      await use(await model.createInstance(), model);
    } finally {
      await model.unload();
    }
  }

  const floats = (name: string, shape: readonly number[], ...values: number[]): Tensor =>
    tensor(name, 'FP32', shape, Float32Array.from(values));

  function graph(given: Partial<OnnxGraph>): Uint8Array {
    return encodeOnnxModel({ name: 'graph', inputs: [], outputs: [], nodes: [], ...given });
  }

  it('keeps the rank of a scalar, open and fixed dimensions apart', async () => {
    await withModel(specOf('scalar', scalarIdentity('INT64')), (_, model) => {
      expect(model.metadata.inputs).toEqual([{ name: 'INPUT0', datatype: 'INT64', shape: [], optional: false }]);
    });
    await withModel(specOf('dims', identity('FP16', [-1, 3, 'width', 0])), (_, model) => {
      expect(model.metadata.outputs).toEqual([{ name: 'OUTPUT0', datatype: 'FP16', shape: [-1, 3, -1, 0], optional: false }]);
    });
  });

  it('lists an input that has an initializer as optional, and runs with it and without it', async () => {
    const onnx = graph({
      inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, elementType: 'FLOAT', dims: [2] })),
      outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: [2] }],
      initializers: [{ name: 'INPUT1', elementType: 'FLOAT', dims: [2], data: Float32Array.of(100, 200) }],
      nodes: [{ op: 'Add', inputs: ['INPUT0', 'INPUT1'], outputs: ['OUTPUT0'] }],
    });
    await withModel(specOf('optional', onnx), (instance, model) => {
      expect(model.metadata.inputs.map(({ name, optional }) => [name, optional])).toEqual([
        ['INPUT0', false],
        ['INPUT1', true],
      ]);
      for (let i = 0; i < 3; i++) {
        expect(run(instance, [floats('INPUT0', [2], 1, 2)]).floats('OUTPUT0')).toEqual([101, 202]);
        expect(run(instance, [floats('INPUT0', [2], 1, 2), floats('INPUT1', [2], 3, 4)]).floats('OUTPUT0')).toEqual([4, 6]);
      }
    });
  });

  it('takes the shape that the file leaves out from the configuration, and asks for it', async () => {
    const onnx = graph({
      inputs: [{ name: 'INPUT0', elementType: 'FLOAT' }],
      outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: [2] }],
      nodes: [{ op: 'Relu', inputs: ['INPUT0'], outputs: ['OUTPUT0'] }],
    });
    const { message } = await failureOf('INVALID_ARGUMENT', () => backend.load(specOf('unknown_rank', onnx)));
    expect(message).toMatch(/INPUT0.*TYPE_FP32.*dims/);
    const input: ModelInput = {
      name: 'INPUT0',
      dataType: 'TYPE_FP32',
      format: 'FORMAT_NONE',
      dims: [2],
      reshape: null,
      isShapeTensor: false,
      allowRaggedBatch: false,
      optional: false,
      isNonLinearFormatIo: false,
    };
    await withModel(specOf('known_rank', onnx, { input: [input] }), (instance, model) => {
      expect(model.metadata.inputs[0]!.shape).toEqual([2]);
      expect(run(instance, [floats('INPUT0', [2], -1, 2)]).floats('OUTPUT0')).toEqual([0, 2]);
    });
  });

  it('names the tensor and the type that the protocol cannot carry', async () => {
    const float8 = await failureOf('UNIMPLEMENTED', () => backend.load(specOf('float8', float8Identity())));
    expect(float8.message).toMatch(/input 'INPUT0' is a tensor of float8e4m3fn/);
    const sequence = await failureOf('UNIMPLEMENTED', () => backend.load(specOf('sequence', sequenceOutput())));
    expect(sequence.message).toMatch(/output 'OUTPUT0' is a sequence/);
  });

  it('says which operator is missing', async () => {
    const io = [{ name: 'X', elementType: 'FLOAT', dims: [1] }] as const;
    const onnx = graph({
      inputs: io,
      outputs: [{ ...io[0], name: 'Y' }],
      nodes: [{ op: 'NoSuchOperator', inputs: ['X'], outputs: ['Y'] }],
    });
    const { message } = await failureOf('INVALID_ARGUMENT', () => backend.load(specOf('no_such_operator', onnx)));
    expect(message).toContain('NoSuchOperator');
    expect(message).not.toContain(directory);
  });

  it('reads weights from the file beside the model', async () => {
    writeFileSync(join(directory, 'weights.bin'), new Uint8Array(Float32Array.of(10, 20).buffer));
    await withModel(specOf('external', externalWeights('weights.bin')), (instance) => {
      expect(run(instance, [floats('INPUT0', [2], 1, 2)]).floats('OUTPUT0')).toEqual([11, 22]);
    });
    const { message } = await failureOf('INVALID_ARGUMENT', () => backend.load(specOf('external', externalWeights('gone.bin'))));
    expect(message).toContain('gone.bin');
    expect(message).not.toContain(directory);
  });
});

/** The schema that our own models are written with, and what only these odd ones need: sequences, and weights in another file. */
function oddModel(onnx: Uint8Array, change: (model: OddModel) => void): Uint8Array {
  const { root } = protobuf.parse(readFileSync(new URL('../../bench/models/onnx.proto', import.meta.url), 'utf8'));
  const typeProto = root.lookupType('nereid.onnx.TypeProto');
  typeProto.add(new protobuf.Type('Sequence').add(new protobuf.Field('elemType', 1, 'TypeProto')));
  typeProto.add(new protobuf.Field('sequenceType', 4, 'Sequence'));
  const tensorProto = root.lookupType('nereid.onnx.TensorProto');
  tensorProto.add(new protobuf.Type('Entry').add(new protobuf.Field('key', 1, 'string')).add(new protobuf.Field('value', 2, 'string')));
  tensorProto.add(new protobuf.Field('externalData', 13, 'Entry', 'repeated')).add(new protobuf.Field('dataLocation', 14, 'int32'));
  const type = root.lookupType('nereid.onnx.ModelProto');
  const model = type.toObject(type.decode(onnx)) as OddModel;
  change(model);
  return type.encode(type.fromObject(model)).finish();
}

interface OddModel {
  graph: {
    input: { type: { tensorType?: { elemType: number } } }[];
    output: { type: { tensorType?: { elemType: number }; sequenceType?: object } }[];
    initializer: { rawData?: Uint8Array; dataLocation?: number; externalData?: object[] }[];
  };
}

/** INPUT0 to OUTPUT0, both of an 8-bit float type. */
function float8Identity(): Uint8Array {
  const value = { elementType: 'UINT8', dims: [4] } as const;
  const onnx = encodeOnnxModel(
    {
      name: 'float8',
      inputs: [{ name: 'INPUT0', ...value }],
      outputs: [{ name: 'OUTPUT0', ...value }],
      nodes: [{ op: 'Identity', inputs: ['INPUT0'], outputs: ['OUTPUT0'] }],
    },
    { opset: 19, irVersion: 9 },
  );
  return oddModel(onnx, ({ graph: { input, output } }) => {
    for (const { type } of [...input, ...output]) type.tensorType = { ...type.tensorType, elemType: 17 };
  });
}

/** OUTPUT0 is a sequence of tensors. */
function sequenceOutput(): Uint8Array {
  const value = { elementType: 'FLOAT', dims: [4] } as const;
  const onnx = encodeOnnxModel({
    name: 'sequence',
    inputs: [{ name: 'INPUT0', ...value }],
    outputs: [{ name: 'OUTPUT0', ...value }],
    nodes: [{ op: 'SequenceConstruct', inputs: ['INPUT0'], outputs: ['OUTPUT0'] }],
  });
  return oddModel(onnx, ({ graph: { output } }) => {
    for (const { type } of output) {
      type.sequenceType = { elemType: { tensorType: { elemType: 1 } } };
      delete type.tensorType;
    }
  });
}

/** OUTPUT0 = INPUT0 + the two FP32 values in `file`, which is looked for beside the model. */
function externalWeights(file: string): Uint8Array {
  const onnx = encodeOnnxModel({
    name: 'external',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: [2] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: [2] }],
    initializers: [{ name: 'weights', elementType: 'FLOAT', dims: [2], data: Float32Array.of(0, 0) }],
    nodes: [{ op: 'Add', inputs: ['INPUT0', 'weights'], outputs: ['OUTPUT0'] }],
  });
  return oddModel(onnx, ({ graph: { initializer } }) => {
    delete initializer[0]!.rawData;
    initializer[0]!.dataLocation = 1;
    initializer[0]!.externalData = [{ key: 'location', value: file }];
  });
}
