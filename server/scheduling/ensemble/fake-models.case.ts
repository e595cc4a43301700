import { vi } from 'vitest';
import type { ModelConfig, ModelEnsemblingStep } from '../../../backends/api/model-config.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { InferenceRequest } from '../../inference/inference-request.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import { KeptOutputs } from '../../inference/kept-outputs.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import type { CallableModel, NestedCalls } from '../../inference/nested-calls.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { ManualClock } from '../manual-clock.ts';
import { Ledger } from '../scheduling-fixtures.ts';
import { compileEnsemble } from './ensemble-plan.ts';
import { EnsembleScheduler } from './ensemble-scheduler.ts';
import { KeptResponse } from './kept-response.ts';

const STEP_TIMING = { queueNs: 1, computeInputNs: 2, computeInferNs: 3, computeOutputNs: 4 };

export interface FakeModel {
  readonly inputs: readonly string[];
  readonly optional?: readonly string[];
  readonly outputs: readonly string[];
  readonly isDecoupled?: boolean;
}

/** Models of int32 scalars that answer when the test says so; the bytes of a response are gone when its caller returns. */
export class FakeModels implements NestedCalls {
  readonly pending: InferenceRequest[] = [];
  /** Every request that came. */
  readonly asked: InferenceRequest[] = [];
  readonly #models: Map<string, CallableModel> = new Map();

  constructor(models: Readonly<Record<string, FakeModel>>) {
    for (const [name, model] of Object.entries(models)) {
      this.#models.set(name, { name, version: '1', signature: signatureOf(name, model), isDecoupled: model.isDecoupled ?? false });
    }
  }

  find(modelName: string): CallableModel | null {
    return this.#models.get(modelName) ?? null;
  }

  infer(request: InferenceRequest): void {
    this.asked.push(request);
    this.pending.push(request);
  }

  /** The oldest request to the model that waits. */
  to(modelName: string): InferenceRequest {
    const request = this.pending.find((one) => one.modelName === modelName);
    if (request === undefined) throw new Error(`nobody asks '${modelName}'`);
    return request;
  }

  answer(request: InferenceRequest, values: Readonly<Record<string, number>>): void {
    this.#forget(request);
    lend(request, values, (response) => request.respond(response));
  }

  stream(request: InferenceRequest, values: Readonly<Record<string, number>>): void {
    lend(request, values, (response) => request.stream(response));
  }

  complete(request: InferenceRequest): void {
    this.#forget(request);
    request.timing = STEP_TIMING;
    request.complete();
  }

  fail(request: InferenceRequest, message: string): void {
    this.#forget(request);
    request.fail(new InferenceError('UNAVAILABLE', message, { failureReason: 'BACKEND' }));
  }

  #forget(request: InferenceRequest): void {
    this.pending.splice(this.pending.indexOf(request), 1);
  }
}

/** An ensemble of int32 scalars over fake models. */
export class FakeEnsemble {
  readonly models: FakeModels;
  readonly clock: ManualClock = new ManualClock();
  readonly ledger: Ledger = new Ledger();
  readonly reporter: ModelReporter = new ModelReporter('e', '1', {});
  readonly scheduler: EnsembleScheduler;
  readonly faults: unknown[] = [];
  readonly #inputs: readonly string[];

  constructor(
    inputs: readonly string[],
    outputs: readonly string[],
    steps: readonly ModelEnsemblingStep[],
    models: Readonly<Record<string, FakeModel>>,
    maxInflightRequests = 0,
  ) {
    this.#inputs = inputs;
    this.models = new FakeModels(models);
    const plan = compileEnsemble(ensembleConfig(inputs, outputs, steps, maxInflightRequests), (name) => this.models.find(name));
    this.scheduler = new EnsembleScheduler({
      plan,
      signature: signatureOf('e', { inputs, outputs }),
      nestedCalls: this.models,
      reporter: this.reporter,
      clock: this.clock,
      onFault: (error) => this.faults.push(error),
    });
  }

  /** `values` by input; one that is left out is not sent. */
  send(id: string, values: Readonly<Record<string, number>>, outputs: readonly string[] = []): InferenceRequest {
    const request = new InferenceRequest({
      modelName: 'e',
      modelVersion: '',
      id,
      inputs: [],
      outputs: outputs.map((name) => ({ name, classification: 0, binaryData: false })),
      parameters: { p: 1 },
      priority: 2,
      timeoutUs: 3,
      caller: this.ledger,
    });
    request.boundInputs = this.#inputs.map((name) => (values[name] === undefined ? null : scalar(name, values[name])));
    this.scheduler.enqueue(request);
    return request;
  }

  /** How the requests ended, in order: the values by output, or the error's text. */
  get ends(): (Record<string, number> | string)[] {
    return this.ledger.endings.map(({ error, outputs }) =>
      error === null ? Object.fromEntries(outputs.map((output) => [output.name, scalarOf(output)])) : error.message,
    );
  }
}

/** A fallback with the step's own tensors. */
export function orElse(modelName: string): NonNullable<ModelEnsemblingStep['fallback']> {
  return { modelName, modelVersion: -1, inputMap: {}, outputMap: {} };
}

export function step(
  modelName: string,
  inputMap: Readonly<Record<string, string>>,
  outputMap: Readonly<Record<string, string>>,
  more: Partial<ModelEnsemblingStep> = {},
): ModelEnsemblingStep {
  return {
    modelName,
    modelVersion: -1,
    inputMap: { ...inputMap },
    outputMap: { ...outputMap },
    modelNamespace: '',
    when: [],
    fallback: null,
    timeoutMicroseconds: 0,
    ...more,
  };
}

export function scalar(name: string, value: number): Tensor {
  return { name, datatype: 'INT32', shape: [1], data: new Uint8Array(Int32Array.of(value).buffer) };
}

export function scalarOf({ data }: Tensor): number {
  return new DataView(data.buffer, data.byteOffset).getInt32(0, true);
}

function lend(request: InferenceRequest, values: Readonly<Record<string, number>>, give: (response: InferenceResponse) => void): void {
  const wanted = request.outputs.map(({ name }) => name);
  const names = Object.keys(values).filter((name) => wanted.length === 0 || wanted.includes(name));
  const outputs = names.map((name) => scalar(name, values[name]!));
  give(new InferenceResponse(request.modelName, '1', outputs, null, STEP_TIMING));
  for (const { data } of outputs) data.fill(0xee);
}

function signatureOf(modelName: string, { inputs, optional = [], outputs }: FakeModel): ModelSignature {
  const spec = { datatype: 'INT32', byteSize: 4, dims: [1], reshape: null } as const;
  return {
    modelName,
    modelVersion: '1',
    maxBatchSize: 0,
    inputs: [...inputs, ...optional].map((name) => ({ ...spec, name, optional: optional.includes(name) })),
    outputs: outputs.map((name) => ({ ...spec, name, labels: null })),
    inputIndex: new Map([...inputs, ...optional].map((name, index) => [name, index])),
    outputIndex: new Map(outputs.map((name, index) => [name, index])),
    requiredInputs: inputs.length,
  } as ModelSignature;
}

function ensembleConfig(
  inputs: readonly string[],
  outputs: readonly string[],
  steps: readonly ModelEnsemblingStep[],
  maxInflightRequests: number,
): ModelConfig {
  const named = (names: readonly string[]): { name: string }[] => names.map((name) => ({ name }));
  const config = { name: 'e', input: named(inputs), output: named(outputs), ensembleScheduling: { step: [...steps], maxInflightRequests } };
  return config as unknown as ModelConfig;
}

/** What is kept of responses, and given back. */
export function watchKept(): { balance(): number[] } {
  const keep = vi.spyOn(KeptResponse.prototype, 'keep');
  const release = vi.spyOn(KeptOutputs.prototype, 'release');
  return { balance: () => keep.mock.results.map(({ value }) => release.mock.contexts.filter((context) => context === value).length) };
}
