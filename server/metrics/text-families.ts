import type { EngineNumbers } from './engine-numbers.ts';
import type { LatencyHistogram } from './latency-histogram.ts';
import { type ModelFamily, writeHistogram } from './model-families.ts';
import type { LengthHistogram, TextLatencies } from './text-latencies.ts';

/**
 * Metrics of models that generate text; the page has them where there is such a model. Where a Triton LLM backend (TensorRT-LLM) has a metric its name and labels are used, so that what reads those, such as the
 * inference gateway of Kubernetes, reads these; the rest is `nv_llm_*` in the same style. A KV cache block of those is one token here.
 */
export const textFamilies: readonly ModelFamily[] = [
  counter(
    'nv_llm_prompt_tokens_total',
    'Tokens of prompts, those that a sequence held already included.',
    (e) => e.promptTokens + e.cachedPromptTokens,
  ),
  counter(
    'nv_llm_prefix_cache_hits_total',
    'Tokens of prompts that a sequence held already and that were not computed again.',
    (e) => e.cachedPromptTokens,
  ),
  counter('nv_llm_generation_tokens_total', 'Tokens that were generated.', (e) => e.generatedTokens),
  counter('nv_llm_steps_total', 'Runs of the model; each takes tokens of many sequences further.', (e) => e.steps),
  {
    name: 'nv_trt_llm_request_metrics',
    type: 'gauge',
    help: 'Requests, by request_type: waiting (in the queue), active and scheduled (sequences that generate; both are the same here).',
    when: null,
    write: (lines, name, { reporter, labels }) => {
      const { engine, pendingCount } = reporter;
      if (engine === null || !engine.isTold) return;
      lines.push(
        `${name}{${labels},request_type="waiting"} ${pendingCount}`,
        `${name}{${labels},request_type="active"} ${engine.runningSequences}`,
        `${name}{${labels},request_type="scheduled"} ${engine.runningSequences}`,
      );
    },
  },
  {
    name: 'nv_trt_llm_kv_cache_block_metrics',
    type: 'gauge',
    help: 'Tokens of the KV cache, by kv_cache_block_type: max, used (prompts kept for later included), free, fraction (used of max), tokens_per (always 1: a block is a token).',
    when: null,
    write: (lines, name, { reporter, labels }) => {
      const { engine } = reporter;
      if (engine === null || !engine.isTold) return;
      const { kvTokensTotal: max, kvTokensUsed: used } = engine;
      const block = (type: string, value: number): string => `${name}{${labels},kv_cache_block_type="${type}"} ${value}`;
      lines.push(
        block('max', max),
        block('used', used),
        block('free', Math.max(0, max - used)),
        block('fraction', max === 0 ? 0 : used / max),
        block('tokens_per', 1),
      );
    },
  },
  latency(
    'nv_llm_time_to_first_token_seconds',
    'Time from the arrival of a streamed request to its first response, seconds.',
    (t) => t.firstToken,
  ),
  latency(
    'nv_llm_inter_token_latency_seconds',
    'Time between two responses of a streamed request, each a token, seconds.',
    (t) => t.nextToken,
  ),
  lengths('nv_llm_input_token_len', 'total_input_tokens', 'Tokens of the prompt, by request.', (t) => t.inputLength),
  lengths('nv_llm_output_token_len', 'total_output_tokens', 'Tokens generated, by request.', (t) => t.outputLength),
];

function counter(name: string, help: string, read: (engine: EngineNumbers) => number): ModelFamily {
  return {
    name,
    type: 'counter',
    help,
    when: null,
    write: (lines, family, { reporter, labels }) => {
      if (reporter.engine?.isTold === true) lines.push(`${family}{${labels}} ${read(reporter.engine)}`);
    },
  };
}

function latency(name: string, help: string, read: (text: TextLatencies) => LatencyHistogram): ModelFamily {
  return {
    name,
    type: 'histogram',
    help,
    when: null,
    write: (lines, family, { reporter, labels }) => {
      if (reporter.text === null) return;
      const histogram = read(reporter.text);
      const bounds = histogram.boundsNs.map((bound) => `${bound / 1e9}`);
      writeHistogram(lines, family, labels, histogram, bounds, histogram.sumNs / 1e9);
    },
  };
}

function lengths(name: string, type: string, help: string, read: (text: TextLatencies) => LengthHistogram): ModelFamily {
  return {
    name,
    type: 'histogram',
    help,
    when: null,
    write: (lines, family, { reporter, labels }) => {
      if (reporter.text === null) return;
      const histogram = read(reporter.text);
      const bounds = histogram.bounds.map((bound) => `${bound}`);
      writeHistogram(lines, family, `${labels},response_metric_type="${type}"`, histogram, bounds, histogram.sum);
    },
  };
}
