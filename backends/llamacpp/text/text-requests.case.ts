/** Requests to a text instance over a real engine, for its test files. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type TinyLlamaOptions, tinyLlama } from '../../../bench/models/gguf/small-models.ts';
import { decodeBytes, encodeBytes } from '../../../proto/bytes.ts';
import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { checkOutputs } from '../../../server/execution/check-outputs.ts';
import { modelConfig } from '../../api/backend.case.ts';
import type { DecoupledRequest } from '../../api/backend.ts';
import { LlamaEngine } from '../engine/llama-engine.ts';
import { readLlamaOptions } from '../options/llama-options.ts';
import type { RequestParameters } from './read-sampling.ts';
import { TextInstance, type TextLimits } from './text-instance.ts';
import { textMetadata } from './text-metadata.ts';

export const CONTEXT: number = 256;
const folder = mkdtempSync(join(tmpdir(), 'text-instance-'));
export const limits: TextLimits = {
  contextSize: CONTEXT,
  maxInputTokens: null,
  maxOutputTokens: null,
  defaultMaxTokens: 16,
  allowsGrammar: true,
};
const open: LlamaEngine[] = [];

export async function engineOf(options: TinyLlamaOptions, contextSize: number = CONTEXT): Promise<LlamaEngine> {
  const path = join(folder, `${open.length}.gguf`);
  writeFileSync(path, tinyLlama(options));
  const parameters = { threads: '1', sequences: '2', context_size: String(contextSize) };
  const config = modelConfig({
    parameters: Object.fromEntries(Object.entries(parameters).map(([name, stringValue]) => [name, { stringValue }])),
  });
  const vocabularySize = options.vocabularyLength ?? (options.vocabulary === 'spm' ? 512 : 384);
  const engine = await LlamaEngine.open(
    path,
    readLlamaOptions(config),
    { log: () => {} },
    { vocabularySize, layers: 2, architecture: 'llama', slidingWindow: 0 },
  );
  open.push(engine);
  return engine;
}

export function instanceOf(engine: LlamaEngine, given: Partial<TextLimits> = {}): TextInstance {
  return new TextInstance({
    engine,
    vocabulary: engine,
    chat: null,
    compileGrammar: (text) => new engine.model.native.addon.AddonGrammar(text),
    limits: { ...limits, ...given },
    sequences: engine.sequences,
    dispose: async () => {},
  });
}

/** Ends what {@link engineOf} began. */
export async function closeEngines(): Promise<void> {
  for (const engine of open) await engine.close();
  rmSync(folder, { recursive: true });
}

export type InputValue = string | Uint8Array | boolean | readonly number[];

function inputsOf(values: Readonly<Record<string, InputValue>>): Tensor[] {
  return Object.entries(values).map(([name, value]) => {
    if (typeof value === 'boolean') return { name, datatype: 'BOOL', shape: [1], data: Uint8Array.of(value ? 1 : 0) };
    if (typeof value === 'string' || value instanceof Uint8Array)
      return { name, datatype: 'BYTES', shape: [1], data: encodeBytes([value]) };
    return { name, datatype: 'INT32', shape: [value.length], data: new Uint8Array(Int32Array.from(value).buffer) };
  });
}

export function requestOf(
  values: Readonly<Record<string, InputValue>>,
  parameters: RequestParameters = {},
  signal: AbortSignal = new AbortController().signal,
): DecoupledRequest {
  return { inputs: inputsOf(values), parameters, signal };
}

/** Outputs as they read: BYTES as text, numbers as numbers. */
export type Response = Readonly<Record<string, string | number>>;

function readResponse(outputs: readonly Tensor[]): Response {
  checkOutputs('test', textMetadata, outputs);
  return Object.fromEntries(
    outputs.map(({ name, datatype, data }) => {
      if (datatype === 'BYTES') return [name, Buffer.from(decodeBytes(data, name)[0]!).toString('utf8')];
      const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
      return [name, datatype === 'FP32' ? view.getFloat32(0, true) : view.getUint32(0, true)];
    }),
  );
}

export async function answers(instance: TextInstance, request: DecoupledRequest): Promise<Response[]> {
  const responses: Response[] = [];
  for await (const outputs of instance.infer(request)) responses.push(readResponse(outputs));
  return responses;
}

export async function answer(
  instance: TextInstance,
  values: Readonly<Record<string, InputValue>>,
  parameters: RequestParameters = {},
): Promise<Response> {
  const responses = await answers(instance, requestOf(values, { temperature: 0, ...parameters }));
  expect(responses).toHaveLength(1);
  return responses[0]!;
}

export async function refusal(
  instance: TextInstance,
  values: Readonly<Record<string, InputValue>>,
  parameters: RequestParameters = {},
): Promise<string> {
  const error = await answers(instance, requestOf(values, parameters)).then(
    () => null,
    (thrown: unknown) => thrown as InferenceError,
  );
  expect(error).toMatchObject({ name: 'InferenceError', code: 'INVALID_ARGUMENT' });
  return error!.message;
}

export const textOf = (responses: readonly Response[]): string => responses.map(({ text_output: text }) => text).join('');
/** Asks for each optional output. */
export const everything: Readonly<Record<string, boolean>> = {
  return_finish_reason: true,
  return_cumulative_logprob: true,
  return_logprobs: true,
  return_num_input_tokens: true,
  return_num_output_tokens: true,
  return_num_cached_tokens: true,
};

export interface Logprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
  readonly top_logprobs: readonly Omit<Logprob, 'top_logprobs'>[];
}
