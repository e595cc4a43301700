/** @hotpath once per call that a model's own code makes (measured by request-channel.bench.ts) */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { HostCall, HostCallRun, HostCallSink, HostCalls } from '../execution/host-calls.ts';
import { type InferenceCaller, InferenceRequest } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';

/** What hosts' code asks of other models, as requests to the inner side of the door. */
export class ModelCalls implements HostCalls {
  readonly #nested: NestedCalls;

  constructor(nested: NestedCalls) {
    this.#nested = nested;
  }

  start(call: HostCall, sink: HostCallSink): HostCallRun {
    const run = new ModelCallRun(call, sink);
    this.#nested.infer(run.request);
    return run;
  }
}

class ModelCallRun implements HostCallRun, InferenceCaller {
  readonly request: InferenceRequest;
  readonly #sink: HostCallSink;

  constructor(call: HostCall, sink: HostCallSink) {
    this.#sink = sink;
    this.request = new InferenceRequest({
      modelName: call.modelName,
      modelVersion: call.modelVersion,
      id: call.id,
      inputs: call.inputs,
      outputs: call.outputs.map((name) => ({ name, classification: 0, binaryData: true })),
      parameters: call.parameters,
      priority: call.priority,
      timeoutUs: 0,
      sequence: call.sequence,
      caller: this,
    });
    this.request.deadlineNs = call.deadlineNs;
    this.request.depth = call.depth;
  }

  cancel(): void {
    this.request.cancel();
  }

  pause(): void {
    this.request.pauseResponses();
  }

  resume(): void {
    this.request.resumeResponses();
  }

  onResponse(_request: InferenceRequest, { outputs }: InferenceResponse, isFinal: boolean): void {
    this.#sink.respond(outputs);
    if (isFinal) this.#sink.complete();
  }

  onComplete(): void {
    this.#sink.complete();
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.#sink.fail(error);
  }
}
