import { describe, expect, test } from 'vitest';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { normaliseModelConfig } from './normalise-model-config.ts';
import { parseModelConfig } from './parse-model-config.ts';

const normalise = (text: string, name = 'm', firstVersionEntries: string[] = ['model.onnx']): ModelConfig =>
  normaliseModelConfig(parseModelConfig(text, 'pbtxt', 'c'), { name, firstVersionEntries });

describe('normaliseModelConfig', () => {
  test('fills in what an empty configuration leaves open', () => {
    expect(normalise('')).toMatchObject({
      name: 'm',
      backend: 'onnxruntime',
      platform: 'onnxruntime_onnx',
      defaultModelFilename: 'model.onnx',
      versionPolicy: { latest: { numVersions: 1 }, all: null, specific: null },
      maxBatchSize: 0,
      dynamicBatching: null,
      instanceGroup: [{ name: 'm', count: 1, kind: 'KIND_CPU', gpus: [] }],
    });
  });

  test.each([
    ['platform: "onnxruntime_onnx"', [], 'onnxruntime', 'onnxruntime_onnx', 'model.onnx'],
    ['backend: "onnxruntime"', [], 'onnxruntime', 'onnxruntime_onnx', 'model.onnx'],
    ['default_model_filename: "resnet.onnx"', ['resnet.onnx'], 'onnxruntime', 'onnxruntime_onnx', 'resnet.onnx'],
    ['', ['model.plan', 'model.onnx'], 'tensorrt', 'tensorrt_plan', 'model.plan'],
    ['', ['model.pt2'], 'pytorch', 'pytorch_libtorch', 'model.pt2'],
    ['platform: "tensorflow_graphdef"', [], 'tensorflow', 'tensorflow_graphdef', 'model.graphdef'],
    ['', ['model.gguf'], 'llamacpp', '', 'model.gguf'],
    ['', ['qwen-0.5b-q4.gguf', 'tokenizer.json', '.other.gguf'], 'llamacpp', '', 'qwen-0.5b-q4.gguf'],
    ['', ['style-lora.gguf', 'model.gguf'], 'llamacpp', '', 'model.gguf'],
    ['backend: "llamacpp"', ['phi.gguf'], 'llamacpp', '', 'phi.gguf'],
    ['backend: "llamacpp"', [], 'llamacpp', '', 'model.gguf'],
    ['default_model_filename: "b.gguf"', ['a.gguf', 'b.gguf'], 'llamacpp', '', 'b.gguf'],
    ['backend: "identity"', [], 'identity', '', ''],
    ['backend: "identity" platform: "x" default_model_filename: "f"', [], 'identity', 'x', 'f'],
  ])('%s with %j', (text, entries, backend, platform, defaultModelFilename) => {
    expect(normalise(text, 'm', entries)).toMatchObject({ backend, platform, defaultModelFilename });
  });

  test('models of llama.cpp are decoupled whatever they say, and keep the bound of their queue', () => {
    expect(normalise('', 'm', ['model.gguf'])).toMatchObject({ modelTransactionPolicy: { decoupled: true }, dynamicBatching: null });
    const config = normalise('dynamic_batching { default_queue_policy { max_queue_size: 7 } } instance_group { count: 3 }', 'm', [
      'model.gguf',
    ]);
    expect(config).toMatchObject({ modelTransactionPolicy: { decoupled: true }, instanceGroup: [{ count: 3 }] });
    expect(config.dynamicBatching?.defaultQueuePolicy?.maxQueueSize).toBe(7);
    expect(normalise('', 'm', ['model.onnx']).modelTransactionPolicy).toBeNull();
  });

  test("takes the backend from the end of the model's name when nothing else tells", () => {
    expect(normalise('', 'm.identity', [])).toMatchObject({ backend: 'identity', defaultModelFilename: 'model.identity' });
  });

  test.each([
    ['name: "other"', ['model.onnx'], "name: expected the directory's name 'm', got 'other'"],
    [
      'backend: "onnxruntime" platform: "tensorrt_plan"',
      [],
      "platform: expected 'onnxruntime_onnx' for the backend 'onnxruntime', got 'tensorrt_plan'",
    ],
    ['platform: "caffe2_netdef"', [], "got 'caffe2_netdef'; give backend instead of platform"],
    ['', ['weights.bin'], 'got the files weights.bin; give backend, or name the file model.savedmodel'],
    ['', [], 'got an empty or missing first version directory'],
    ['', ['b.gguf', 'a.gguf'], "default_model_filename: expected the model's file among a.gguf, b.gguf, got none; name it there"],
    ['', ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'], 'join the pieces of a model with llama-gguf-split --merge'],
    [
      'backend: "llamacpp" model_transaction_policy { decoupled: false }',
      ['model.gguf'],
      'model_transaction_policy.decoupled: expected true',
    ],
    ['backend: "llamacpp" max_batch_size: 4', ['model.gguf'], "max_batch_size: expected 0 for the backend 'llamacpp'"],
    ['backend: "llamacpp" sequence_batching { }', ['model.gguf'], 'sequence_batching: expected none'],
    ['response_cache { enable: true }', ['model.gguf'], 'response_cache.enable: expected false'],
    ['input { name: "a" data_type: TYPE_FP32 dims: [ 1 ] allow_ragged_batch: true }', ['model.gguf'], 'nor ragged inputs'],
  ])('refuses %s with %j', (text, entries, message) => {
    expect(() => normalise(text, 'm', entries)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) }),
    );
  });

  test('fills in schedulers and instance groups', () => {
    const config = normalise(
      'max_batch_size: 8 dynamic_batching { } instance_group { } instance_group { name: "x" count: 3 } version_policy { latest { } }',
    );
    expect(config.dynamicBatching?.preferredBatchSize).toEqual([8]);
    expect(config.instanceGroup).toMatchObject([
      { name: 'm_0', count: 1, kind: 'KIND_CPU' },
      { name: 'x', count: 3, kind: 'KIND_CPU' },
    ]);
    expect(config.versionPolicy?.latest).toEqual({ numVersions: 1 });
    expect(normalise('max_batch_size: 8 dynamic_batching { preferred_batch_size: 2 }').dynamicBatching?.preferredBatchSize).toEqual([2]);
    expect(normalise('sequence_batching { oldest { } } max_batch_size: 4').sequenceBatching).toMatchObject({
      maxSequenceIdleMicroseconds: 1_000_000,
      oldest: { preferredBatchSize: [4] },
    });
  });

  test('does the same to its own result, and leaves its argument alone', () => {
    const parsed = parseModelConfig('max_batch_size: 8 dynamic_batching { } instance_group { }', 'pbtxt', 'c');
    const before = structuredClone(parsed);
    const once = normaliseModelConfig(parsed, { name: 'm', firstVersionEntries: ['model.onnx'] });
    expect(parsed).toEqual(before);
    expect(normaliseModelConfig(once, { name: 'm', firstVersionEntries: ['model.onnx'] })).toEqual(once);
  });
});
