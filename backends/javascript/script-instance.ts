/** @hotpath runs the model's code on a batch's requests (measured by request-channel.bench.ts) */

import type { AsyncLocalStorage } from 'node:async_hooks';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type {
  DecoupledModelInstance,
  DecoupledRequest,
  HostServices,
  ModelMetadata,
  ModelRequest,
  RequestModelInstance,
  RequestPlace,
} from '../api/backend.ts';
import type { LoadedModule } from './load-module.ts';
import type { ModelContext } from './model-api.ts';
import type { ModelCaller } from './model-caller.ts';
import { ResultReader } from './read-results.ts';
import { ResponseQueue } from './response-queue.ts';
import { ScriptRequest } from './script-request.ts';

export interface ScriptInstanceInit {
  readonly module: LoadedModule;
  readonly metadata: ModelMetadata;
  readonly modelName: string;
  readonly context: ModelContext;
  readonly caller: ModelCaller;
  readonly places: AsyncLocalStorage<RequestPlace>;
  readonly services: HostServices;
  /** 0: as many as the host gives. */
  readonly maxConcurrency: number;
}

type Result = readonly Tensor[] | InferenceError;

/** A stack in the log helps whoever wrote the model; one for every request of a model that fails each time does not. */
const LOG_INTERVAL_MS = 1000;

/** The one instance of a process, of either kind. */
export class ScriptInstance implements RequestModelInstance, DecoupledModelInstance {
  readonly maxBatches: number;
  readonly maxRequests: number;
  readonly #init: ScriptInstanceInit;
  readonly #reader: ResultReader;
  #loggedMs = Number.NEGATIVE_INFINITY;
  #isDisposed = false;

  constructor(init: ScriptInstanceInit) {
    this.#init = init;
    this.#reader = new ResultReader(init.modelName, init.metadata);
    this.maxBatches = init.maxConcurrency;
    this.maxRequests = init.maxConcurrency;
  }

  async execute(requests: readonly ModelRequest[]): Promise<readonly Result[]> {
    const { place } = requests[0]!;
    try {
      return await this.#run(requests, { execution: place.execution, index: -1 });
    } catch (error) {
      if (requests.length === 1) return [this.#failure(error)];
    }
    // The one at fault shall fail alone.
    const results: Result[] = [];
    for (const request of requests) {
      try {
        results.push(...(await this.#run([request], request.place)));
      } catch (error) {
        results.push(this.#failure(error));
      }
    }
    return results;
  }

  async *infer({ request }: DecoupledRequest): AsyncGenerator<readonly Tensor[]> {
    if (request === undefined) throw new InferenceError('INTERNAL', 'the host said nothing of the request');
    const { context, module, places } = this.#init;
    const queue = new ResponseQueue((outputs) => this.#reader.outputs(outputs, request.batchSize));
    const script = new ScriptRequest(request, this.#init.caller, (outputs) => queue.send(outputs));
    const place: RequestPlace = { execution: request.place.execution, index: -1 };
    const running = places
      .run(place, async () => {
        const given = await module.execute([script], context);
        if (given === undefined || given === null) return;
        throw new InferenceError(
          'INTERNAL',
          `model '${this.#init.modelName}': execute of a decoupled model returned a value; give responses with send, and return nothing`,
        );
      })
      .then(
        () => queue.end(null),
        (error: unknown) => queue.end(this.#failure(error)),
      );
    try {
      yield* queue.responses();
    } finally {
      queue.close();
      // Its place is free when the code has stopped.
      await running;
      script.end();
    }
  }

  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const { module, services } = this.#init;
    try {
      await module.finalize?.();
    } catch (error) {
      services.log('error', `finalize failed: ${stackOf(error)}`);
    }
  }

  async #run(requests: readonly ModelRequest[], place: RequestPlace): Promise<Result[]> {
    const { caller, context, module, places } = this.#init;
    const scripts = new Array<ScriptRequest>(requests.length);
    const rows = new Array<number>(requests.length);
    for (let i = 0; i < requests.length; i++) {
      scripts[i] = new ScriptRequest(requests[i]!, caller, null);
      rows[i] = requests[i]!.batchSize;
    }
    try {
      return this.#reader.results(await places.run(place, module.execute, scripts, context), rows);
    } finally {
      for (const script of scripts) script.end();
    }
  }

  #failure(error: unknown): InferenceError {
    const failure = this.#reader.errorFrom(error);
    const now = performance.now();
    if (failure !== error && failure.code === 'INTERNAL' && now - this.#loggedMs > LOG_INTERVAL_MS) {
      this.#loggedMs = now;
      this.#init.services.log('error', `execute failed: ${stackOf(error)}`);
    }
    return failure;
  }
}

function stackOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.stack ?? error.message) : String(error);
  } catch {
    return 'it threw a value that has no text';
  }
}
