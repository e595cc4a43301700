import { afterEach, describe, expect, it } from 'vitest';
import type { Tensor } from '../../proto/tensor.ts';
import type { DecoupledChannel, DecoupledExecution, DecoupledRun } from '../execution/decoupled-execution.ts';
import { InferenceRequest } from '../inference/inference-request.ts';
import type { InputSpec, ModelSignature } from '../inference/model-signature.ts';
import { EngineNumbers } from '../metrics/engine-numbers.ts';
import { MetricsRegistry } from '../metrics/metrics.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { DecoupledScheduler } from './decoupled-scheduler.ts';
import { ManualClock } from './manual-clock.ts';

const registries: MetricsRegistry[] = [];
afterEach(async () => {
  for (const registry of registries.splice(0)) await registry.close();
});

function signature(streamInput: string, output: string): ModelSignature {
  const inputs: InputSpec[] = [
    { name: 'text_input', datatype: 'BYTES', byteSize: 0, dims: [1], optional: false, reshape: null },
    { name: streamInput, datatype: 'BOOL', byteSize: 1, dims: [1], optional: true, reshape: null },
  ];
  const outputs = [{ name: output, datatype: 'BYTES' as const, byteSize: 0, dims: [1], reshape: null, labels: null }];
  return {
    modelName: 'llm',
    modelVersion: '1',
    maxBatchSize: 0,
    inputs,
    outputs,
    inputIndex: new Map(inputs.map(({ name }, i) => [name, i])),
    outputIndex: new Map([[output, 0]]),
    requiredInputs: 1,
  };
}

function setUp(streamInput = 'stream', output = 'text_output') {
  const clock = new ManualClock();
  const reporter = new ModelReporter('llm', '1', {}, true);
  const engine = new EngineNumbers();
  const executions: DecoupledExecution[] = [];
  const channel: DecoupledChannel = {
    hasCapacity: true,
    isFree: true,
    inflightCount: 0,
    isAlive: true,
    expect: () => {},
    release: async () => {},
    start: (execution): DecoupledRun => {
      executions.push(execution);
      return { cancel: () => {}, resume: () => {} };
    },
  };
  const scheduler = new DecoupledScheduler({
    signature: signature(streamInput, output),
    maxQueueSize: 10,
    instances: { take: () => channel },
    modelOutputCount: 1,
    reporter,
    clock,
    engine,
    onFault: (error) => {
      throw error;
    },
  });
  const registry = new MetricsRegistry();
  registries.push(registry);
  registry.register(reporter);
  const send = (stream: boolean | null): DecoupledExecution => {
    const prompt: Tensor = { name: 'text_input', datatype: 'BYTES', shape: [1], data: Uint8Array.of(1, 0, 0, 0, 65) };
    const flag: Tensor = { name: streamInput, datatype: 'BOOL', shape: [1], data: Uint8Array.of(stream === true ? 1 : 0) };
    const request = new InferenceRequest({
      modelName: 'llm',
      modelVersion: '',
      id: '',
      inputs: [prompt],
      outputs: [],
      parameters: {},
      priority: 0,
      timeoutUs: 0,
      caller: { onResponse: () => {}, onComplete: () => {}, onError: () => {} },
    });
    request.boundInputs = [prompt, stream === null ? null : flag];
    request.receivedNs = clock.nowNs();
    request.deadlineNs = Number.POSITIVE_INFINITY;
    scheduler.enqueue(request);
    clock.tick();
    return executions.at(-1)!;
  };
  const respond = (execution: DecoupledExecution, data = Uint8Array.of(1, 0, 0, 0, 66)): void =>
    execution.respond([{ name: output, datatype: 'BYTES', shape: [1], data }]);
  const samples = async (): Promise<Record<string, number>> => {
    const found: Record<string, number> = {};
    for (const [, name, value] of (await registry.render()).matchAll(/^((?:nv_llm|nv_trt_llm)\S+) (\S+)$/gm)) {
      found[name!.replace('model="llm",version="1"', '').replace('{,', '{').replace('{}', '')] = Number(value);
    }
    return found;
  };
  return { clock, registry, reporter, engine, send, respond, samples };
}

describe('the metrics of a model that generates text', () => {
  it('have the time to the first token of a stream and between two, and lengths', async () => {
    const { clock, send, respond, samples } = setUp();
    const streamed = send(true);
    clock.advance(30e6);
    respond(streamed);
    clock.advance(4e6);
    respond(streamed);
    clock.advance(200e6);
    respond(streamed);
    clock.advance(1e6);
    // Only why it ended.
    respond(streamed, new Uint8Array(4));
    streamed.used!(60, 3);
    streamed.complete();
    // Whole texts: when their first token came is not seen from here.
    for (const stream of [false, null]) {
      const whole = send(stream);
      clock.advance(9e9);
      respond(whole);
      whole.used!(1_000_000, 500);
      whole.complete();
    }
    expect(await samples()).toMatchObject({
      'nv_llm_time_to_first_token_seconds_bucket{le="0.02"}': 0,
      'nv_llm_time_to_first_token_seconds_bucket{le="0.04"}': 1,
      nv_llm_time_to_first_token_seconds_sum: 0.03,
      nv_llm_time_to_first_token_seconds_count: 1,
      'nv_llm_inter_token_latency_seconds_bucket{le="0.0025"}': 0,
      'nv_llm_inter_token_latency_seconds_bucket{le="0.005"}': 1,
      'nv_llm_inter_token_latency_seconds_bucket{le="0.2"}': 2,
      nv_llm_inter_token_latency_seconds_sum: 0.204,
      'nv_llm_input_token_len_bucket{response_metric_type="total_input_tokens",le="50"}': 0,
      'nv_llm_input_token_len_bucket{response_metric_type="total_input_tokens",le="100"}': 1,
      'nv_llm_input_token_len_bucket{response_metric_type="total_input_tokens",le="+Inf"}': 3,
      'nv_llm_output_token_len_bucket{response_metric_type="total_output_tokens",le="10"}': 1,
      'nv_llm_output_token_len_bucket{response_metric_type="total_output_tokens",le="500"}': 3,
      'nv_llm_output_token_len_sum{response_metric_type="total_output_tokens"}': 1003,
    });
  });

  it('have what the engine says, once it said something', async () => {
    const { engine, reporter, samples } = setUp();
    expect(Object.keys(await samples()).filter((name) => !/_(bucket|sum|count)/.test(name))).toEqual([]);
    Object.assign(engine, { isTold: true, promptTokens: 60, cachedPromptTokens: 40, generatedTokens: 7, steps: 9 });
    Object.assign(engine, { runningSequences: 3, kvTokensUsed: 1024, kvTokensTotal: 4096 });
    reporter.pendingCount = 5;
    expect(await samples()).toMatchObject({
      nv_llm_prompt_tokens_total: 100,
      nv_llm_prefix_cache_hits_total: 40,
      nv_llm_generation_tokens_total: 7,
      nv_llm_steps_total: 9,
      'nv_trt_llm_request_metrics{request_type="waiting"}': 5,
      'nv_trt_llm_request_metrics{request_type="active"}': 3,
      'nv_trt_llm_request_metrics{request_type="scheduled"}': 3,
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max"}': 4096,
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used"}': 1024,
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="free"}': 3072,
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"}': 0.25,
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per"}': 1,
    });
  });

  it.each([
    ['text_input', 'text_output'],
    ['stream', 'other'],
  ])('are not there for a model with the input %s and the output %s', async (input, output) => {
    const { send, respond, registry, reporter } = setUp(input, output);
    const execution = send(true);
    respond(execution);
    execution.used!(1, 1);
    execution.complete();
    expect(reporter.text).toBeNull();
    expect(await registry.render()).not.toContain('_llm_');
  });

  it('go with their model', async () => {
    const { engine, registry, reporter } = setUp();
    engine.isTold = true;
    expect(await registry.render()).toContain('# TYPE nv_llm_steps_total counter');
    registry.unregister(reporter);
    expect(await registry.render()).not.toContain('_llm_');
  });
});
