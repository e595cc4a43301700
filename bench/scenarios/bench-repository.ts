import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { bertModel } from '../models/bert-model.ts';
import { imageModel } from '../models/image-model.ts';
import { mlpModel } from '../models/mlp-model.ts';
import { resnet50Model } from '../models/resnet50-model.ts';
import { runningSum } from '../models/sequence-models.ts';
import { addSub, identity } from '../models/test-models.ts';

const onnx = (make: () => Uint8Array, config: string) => (): Record<string, Uint8Array | string> => ({
  '1/model.onnx': make(),
  'config.yaml': config,
});
const vector = (name: string): string => `{name: ${name}, data_type: TYPE_FP32, dims: [16]}`;

/** What scenarios serve, by name: the files of a model's directory, made anew each time. The large ones have 100 MB and are in no repository of sources. */
const models: Readonly<Record<string, () => Record<string, Uint8Array | string>>> = {
  /** Sum and difference of two vectors of 16 INT32: 2 us. */
  tiny: onnx(() => addSub('INT32'), 'max_batch_size: 64\ndynamic_batching: {}\n'),
  /** 3.7 million parameters, 512 values in. */
  mlp: onnx(() => mlpModel(), 'max_batch_size: 64\ndynamic_batching: {}\n'),
  /** 25.5 million parameters, a picture in. One at a time: a batch of such pictures takes as long as they do one by one. */
  resnet50: onnx(resnet50Model, 'max_batch_size: 1\n'),
  /** Four layers of 256, token IDs and a mask in. */
  bert: onnx(bertModel, 'max_batch_size: 32\ndynamic_batching: {}\n'),
  /** One convolution over a picture. */
  image: onnx(() => imageModel(), 'max_batch_size: 8\ndynamic_batching: {}\n'),
  /** Strings, given back. */
  bytes: onnx(
    () => identity('BYTES', ['batch', 'count']),
    'max_batch_size: 8\ninput: [{name: INPUT0, data_type: TYPE_STRING, dims: [-1]}]\n',
  ),
  /** 16 FP32, given back: the stages of the ensemble. */
  stage0: onnx(() => identity('FP32'), 'max_batch_size: 64\ndynamic_batching: {}\n'),
  stage1: onnx(() => identity('FP32'), 'max_batch_size: 64\ndynamic_batching: {}\n'),
  stage2: onnx(() => identity('FP32'), 'max_batch_size: 64\ndynamic_batching: {}\n'),
  /** The three stages behind one another. */
  three: () => ({
    'config.yaml': [
      'platform: ensemble',
      'max_batch_size: 64',
      `input: [${vector('INPUT0')}]`,
      `output: [${vector('OUTPUT0')}]`,
      'ensemble_scheduling:',
      '  step:',
      '    - {model_name: stage0, model_version: -1, input_map: {INPUT0: INPUT0}, output_map: {OUTPUT0: a}}',
      '    - {model_name: stage1, model_version: -1, input_map: {INPUT0: a}, output_map: {OUTPUT0: b}}',
      '    - {model_name: stage2, model_version: -1, input_map: {INPUT0: b}, output_map: {OUTPUT0: OUTPUT0}}',
      '',
    ].join('\n'),
    '1/.keep': '',
  }),
  /** A running sum for each sequence, kept by the server. */
  sum: onnx(
    () => runningSum(),
    [
      'max_batch_size: 64',
      'input: [{name: INPUT, data_type: TYPE_INT32, dims: [1]}]',
      'output: [{name: OUTPUT, data_type: TYPE_INT32, dims: [1]}]',
      'sequence_batching:',
      '  max_sequence_idle_microseconds: 60000000',
      '  oldest: {max_candidate_sequences: 10240}',
      '  state: [{input_name: STATE_IN, output_name: STATE_OUT, data_type: TYPE_INT32, dims: [1]}]',
      '',
    ].join('\n'),
  ),
};

/** A folder of models, gone when `remove` is called. */
export interface BenchRepository {
  readonly path: string;
  modelFile(model: string): string;
  remove(): void;
}

export function makeBenchRepository(names: readonly string[]): BenchRepository {
  const makers = names.map((name) => {
    const make = models[name];
    if (make === undefined) throw new RangeError(`no model '${name}' is made for benchmarks; there are ${Object.keys(models).join(', ')}`);
    return [name, make] as const;
  });
  const path = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
  for (const [name, make] of makers) {
    for (const [file, content] of Object.entries(make())) {
      const target = join(path, name, file);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, content);
    }
  }
  return {
    path,
    modelFile: (model) => join(path, model, '1', 'model.onnx'),
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
