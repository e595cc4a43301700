import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mlp } from '../../bench/models/test-models.ts';
import { failureOf, modelConfig, modelSpec, run, tensor } from '../api/backend.case.ts';
import type { Backend, ModelInstance } from '../api/backend.ts';
import type { ModelConfig } from '../api/model-config.ts';
import { createBackend } from './index.ts';
import { readSessionSettings } from './session-options.ts';

const withParameters = (parameters: Record<string, string>): Partial<ModelConfig> => ({
  parameters: Object.fromEntries(Object.entries(parameters).map(([key, stringValue]) => [key, { stringValue }])),
});

describe('readSessionSettings', () => {
  it('keeps to one thread that does not spin, unless told otherwise', () => {
    expect(readSessionSettings(modelConfig())).toEqual({
      graphLevel: 99,
      intraOpThreads: 1,
      interOpThreads: 1,
      isParallel: false,
      usesMemoryArena: true,
      usesMemoryPattern: false,
      entries: new Map([
        ['session.intra_op.allow_spinning', '0'],
        ['session.inter_op.allow_spinning', '0'],
      ]),
    });
  });

  it('takes what Triton takes, and leaves alone what it does not know', () => {
    const config = withParameters({
      intra_op_thread_count: '4',
      inter_op_thread_count: '0',
      execution_mode: '1',
      enable_mem_arena: '0',
      enable_mem_pattern: '1',
      'session.intra_op.allow_spinning': '1',
      'session.set_denormal_as_zero': '1',
      labels_of_ours: 'anything',
    });
    const optimization = { graph: { level: -1 } } as ModelConfig['optimization'];
    expect(readSessionSettings(modelConfig({ ...config, optimization }))).toEqual({
      graphLevel: 1,
      intraOpThreads: 4,
      interOpThreads: 0,
      isParallel: true,
      usesMemoryArena: false,
      usesMemoryPattern: true,
      entries: new Map([
        ['session.intra_op.allow_spinning', '1'],
        ['session.inter_op.allow_spinning', '0'],
        ['session.set_denormal_as_zero', '1'],
      ]),
    });
  });

  it.each([
    'session.optimized_model_filepath',
    'session.optimized_model_external_initializers_file_name',
    'session.model_external_initializers_file_folder_path',
    'session.node_partition_config_file',
    'session.collect_node_memory_stats_to_file',
    'session.enable_profiling',
    'session.debug_layout_transformation',
    'session.resource_cuda_partitioning_settings',
    'ep.context_enable',
    'ep.context_file_path',
    'ep.context_model_external_initializers_file_name',
    'ep.qnnexecutionprovider.backend_path',
  ])('refuses %s in a model, as it leads to other files, and takes it from the operator', async (key) => {
    const { message } = await failureOf('INVALID_ARGUMENT', () => readSessionSettings(modelConfig(withParameters({ [key]: 'x' }))));
    expect(message).toContain(`parameters['${key}']: a model's configuration must not`);
    expect(readSessionSettings(modelConfig(), { [key]: 'x' }).entries.get(key)).toBe('x');
  });

  it('names the parameter whose bound an entry would get around', async () => {
    const config = modelConfig(withParameters({ 'session.intra_op_num_threads': '100000' }));
    const { message } = await failureOf('INVALID_ARGUMENT', () => readSessionSettings(config));
    expect(message).toContain("'intra_op_thread_count'");
  });

  it('lets a model override the settings of the backend', async () => {
    const settings = { intra_op_thread_count: '3', inter_op_thread_count: '5', 'session.set_denormal_as_zero': '1' };
    const merged = readSessionSettings(modelConfig(withParameters({ intra_op_thread_count: '2' })), settings);
    expect([merged.intraOpThreads, merged.interOpThreads, merged.entries.get('session.set_denormal_as_zero')]).toEqual([2, 5, '1']);
    const { message } = await failureOf('INVALID_ARGUMENT', () => readSessionSettings(modelConfig(), { execution_mode: 'fast' }));
    expect(message).toMatch(/--backend-config.*execution_mode.*'fast'/);
  });

  it.each([
    ['intra_op_thread_count', 'many', /whole number from 0 to/],
    ['inter_op_thread_count', '-1', /whole number from 0 to/],
    ['intra_op_thread_count', '100000', /whole number from 0 to/],
    ['execution_mode', '2', /'0' or '1'/],
    ['enable_mem_arena', 'yes', /'0' or '1'/],
    ['enable_mem_pattern', '', /'0' or '1'/],
  ])('refuses %s = %j', async (key, value, expected) => {
    const { message } = await failureOf('INVALID_ARGUMENT', () => readSessionSettings(modelConfig(withParameters({ [key]: value }))));
    expect(message).toContain(`parameters['${key}']`);
    expect(message).toContain(`'${value}'`);
    expect(message).toMatch(expected);
  });

  it('refuses an optimization level that does not exist', async () => {
    const optimization = { graph: { level: 7 } } as ModelConfig['optimization'];
    const { message } = await failureOf('INVALID_ARGUMENT', () => readSessionSettings(modelConfig({ optimization })));
    expect(message).toMatch(/optimization\.graph\.level.*got 7/);
  });

  it('says that it has no GPU', async () => {
    const instanceGroup = [{ kind: 'KIND_GPU' }] as ModelConfig['instanceGroup'];
    const { message } = await failureOf('UNIMPLEMENTED', () => readSessionSettings(modelConfig({ instanceGroup })));
    expect(message).toContain('KIND_GPU');
  });
});

describe('a session with settings', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nereid-session-options-'));
  const path = join(directory, 'model.onnx');
  let backend: Backend;

  beforeAll(async () => {
    writeFileSync(path, mlp(4, 4, 2));
    backend = await createBackend({ settings: {} });
  });
  afterAll(async () => {
    await backend.close();
    rmSync(directory, { recursive: true });
  });

  async function outputOf(config: Partial<ModelConfig>): Promise<number[]> {
    const model = await backend.load(modelSpec('settings', path, config));
    const instance: ModelInstance = await model.createInstance();
    const input = tensor('INPUT0', 'FP32', [1, 4], Float32Array.of(1, 2, 3, 4));
    const outputs = [1, 2, 3].map(() => run(instance, [input]).floats('OUTPUT0'));
    await model.unload();
    expect(outputs[2]).toEqual(outputs[0]);
    return outputs[0]!;
  }

  it('computes the same at every optimization level', async () => {
    const all = await outputOf({});
    for (const level of [-1, 1, 2]) {
      const optimization = { graph: { level } } as ModelConfig['optimization'];
      const values = await outputOf({ optimization });
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(all[i]!, 4);
    }
  });

  it('computes the same with threads, in parallel, without arena and pattern', async () => {
    const parameters = {
      intra_op_thread_count: '2',
      inter_op_thread_count: '2',
      execution_mode: '1',
      enable_mem_arena: '0',
      enable_mem_pattern: '0',
    };
    const [one, other] = [await outputOf({}), await outputOf(withParameters(parameters))];
    for (const [i, value] of other.entries()) expect(value).toBeCloseTo(one[i]!, 4);
  });
});
