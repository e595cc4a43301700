import type { ModelWarmup } from '../../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { InferenceRequest } from '../../inference/inference-request.ts';
import { skipSpace, valueEnd } from './json-spans.ts';
import type { ModelFileReader } from './model-file-reader.ts';
import type { PreparationRun } from './preparation-run.ts';
import type { RequestReader } from './request-reader.ts';
import { sampleTensor } from './warm-up-data.ts';

const MAX_REQUEST_FILE_BYTES = 64 * 1024 * 1024;
/** Of all files of a model. */
const MAX_REQUESTS = 1_000;

/** Nobody waits for a template; what runs is a copy. */
const noCaller = { onResponse: (): void => {}, onComplete: (): void => {}, onError: (): void => {} };

/**
 * Every instance runs every sample of `model_warmup`, `count` times. Rejects with the reason that a sample could not be made or run. Source:
 * ModelWarmup of Triton's model_config.proto (reference 5.9).
 */
export async function runWarmupSamples(run: PreparationRun, files: ModelFileReader, reader: RequestReader): Promise<void> {
  for (const [index, sample] of run.model.config.modelWarmup.entries()) {
    if (sample.batchSize === 0) continue;
    try {
      const request = await sampleRequest(sample, run, files);
      reader.validateRequest(request, run.signature);
      await run.onEachInstance(request, Math.max(1, sample.count));
    } catch (error) {
      const shown = sample.name === '' ? `model_warmup[${index}]` : `'${sample.name}'`;
      throw preparationFailure(`failed to run warm-up sample ${shown} of ${run.label}`, error);
    }
  }
}

async function sampleRequest(sample: ModelWarmup, run: PreparationRun, files: ModelFileReader): Promise<InferenceRequest> {
  const { name, version, signature } = run.model;
  const { maxBatchSize } = signature;
  const inputs: Tensor[] = [];
  for (const [inputName, input] of Object.entries(sample.inputs)) {
    inputs.push(await sampleTensor(inputName, input, maxBatchSize === 0 ? 0 : sample.batchSize, files));
  }
  return new InferenceRequest({
    modelName: name,
    modelVersion: version,
    id: '',
    inputs,
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller: noCaller,
  });
}

/**
 * Every instance runs every request in the files of `warmup_requests`, one after the other: V2 requests in JSON, one or several in a file, with
 * or without line breaks.
 */
export async function runWarmupRequests(run: PreparationRun, files: ModelFileReader, reader: RequestReader): Promise<void> {
  let count = 0;
  for (const file of run.model.config.warmupRequests) {
    try {
      const bytes = await files.read('warmup', file, MAX_REQUEST_FILE_BYTES);
      let at = skipSpace(bytes, 0);
      if (at === bytes.length) throw invalidArgument('expected an inference request in JSON, got an empty file');
      for (let index = 1; at < bytes.length; index++) {
        if (++count > MAX_REQUESTS) throw invalidArgument(`warmup_requests may have ${MAX_REQUESTS} requests in all, got more`);
        try {
          const end = valueEnd(bytes, at);
          await run.onEachInstance(readRequest(bytes.subarray(at, end), run, reader), 1);
          at = skipSpace(bytes, end);
        } catch (error) {
          throw preparationFailure(`request ${index}`, error);
        }
      }
    } catch (error) {
      throw preparationFailure(`failed to run warm-up requests '${file}' of ${run.label}`, error);
    }
  }
}

/** A request of a file, ready to be run any number of times. Throws INVALID_ARGUMENT. */
export function readRequest(body: Uint8Array, run: PreparationRun, reader: RequestReader): InferenceRequest {
  const { signature } = run;
  const request = reader.decodeRequest(body, signature, noCaller);
  reader.validateRequest(request, signature);
  return request;
}

/** The reason, behind what could not be done. */
export function preparationFailure(what: string, error: unknown): InferenceError {
  const { code, message } = InferenceError.from(error);
  return new InferenceError(code, `${what}: ${message}`, { cause: error });
}
