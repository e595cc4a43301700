/** @hotpath the host's end of decoupled requests: a start frame into an iteration, its responses into frames (measured by decoupled-channel.bench.ts) */

import type { DecoupledModelInstance, EngineStatistics } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { DecoupledIteration, type HostedDecoupledInstance, type IterationSink } from './decoupled-iteration.ts';
import {
  alignTensor,
  outputRecordBytes,
  REQUEST_INSTANCE,
  REQUEST_PARAMETERS_BYTES,
  REQUEST_PARAMETERS_OFFSET,
  REQUEST_SEQUENCE,
  responseBytes,
  WORD_BYTES,
} from './execution-record.ts';
import {
  CANCEL_BYTES,
  controlFrame,
  FRAME_HEADER_BYTES,
  FRAME_KIND,
  type FrameKind,
  MAX_TENSOR_FRAME_BYTES,
  type StatisticsMessage,
  writeFrameHeader,
} from './messages.ts';
import { parseParameters } from './parameters-json.ts';
import { readInputs } from './read-inputs.ts';
import { parseRequest } from './request-row.ts';
import { writeEndRecord, writeErrorRecord, writeTensorsRecord } from './write-response.ts';

/** The record's doubles have to lie on 8-byte boundaries, so the frame starts a little behind its buffer. */
const LEAD_BYTES = 8 - FRAME_HEADER_BYTES;
const PAYLOAD_OFFSET = LEAD_BYTES + FRAME_HEADER_BYTES;
/** How often instances that tell statistics are asked for them while requests run. */
const STATISTICS_INTERVAL_MS = 250;
const noOutputs: readonly Tensor[] = [];

/** Works on any number of requests at once; the gateway bounds them. */
export class DecoupledWorker {
  readonly instances: Map<number, HostedDecoupledInstance> = new Map();
  readonly #send: (frame: Uint8Array) => void;
  readonly #runsCode: boolean;
  readonly #progressMs: number;
  #statisticsTimer: NodeJS.Timeout | null = null;
  readonly #running: Map<number, DecoupledIteration> = new Map();

  /** `send` takes a frame over. `progressMs`: as in HelloMessage. */
  constructor(send: (frame: Uint8Array) => void, runsCode = false, progressMs = 0) {
    this.#send = send;
    this.#runsCode = runsCode;
    this.#progressMs = progressMs;
  }

  /** A `start`, `cancel` or `credit` frame. */
  onFrame(kind: number, payload: Buffer): void {
    if (kind === FRAME_KIND.start) {
      this.#start(payload);
      return;
    }
    // Its end may be on the way to the gateway.
    const iteration = this.#running.get(payload.readDoubleLE(0));
    if (iteration === undefined) return;
    if (kind === FRAME_KIND.cancel) iteration.cancel();
    else iteration.grant(payload.readDoubleLE(WORD_BYTES));
  }

  /** The gateway has gone. */
  cancelAll(): void {
    for (const iteration of this.#running.values()) iteration.cancel();
  }

  #start(payload: Buffer): void {
    const words = new Float64Array(payload.buffer, payload.byteOffset, Math.floor(payload.length / WORD_BYTES));
    const sequence = words[REQUEST_SEQUENCE]!;
    const instance = words[REQUEST_INSTANCE]!;
    const hosted = this.instances.get(instance);
    if (hosted === undefined) {
      this.#send(endFrame(sequence, new InferenceError('INTERNAL', 'the execution host has no such model instance')));
      return;
    }
    const inputs = readInputs(words, 0, payload, hosted.metadata);
    const parametersAt = words[REQUEST_PARAMETERS_OFFSET]!;
    const described = payload.subarray(parametersAt, parametersAt + words[REQUEST_PARAMETERS_BYTES]!);
    const request = this.#runsCode ? parseRequest(described, sequence, inputs) : null;
    const parameters = request?.parameters ?? parseParameters(described);
    const running = this.#running;
    const send = this.#send;
    const tellsStatistics = hosted.instance.statistics !== undefined;
    if (tellsStatistics) this.#statisticsTimer ??= setInterval(this.#sendStatistics, STATISTICS_INTERVAL_MS);
    // A few closures a request, however many responses it has.
    const sink: IterationSink = {
      onResponse: (outputs) => send(responseFrame(sequence, hosted, outputs)),
      onProgress: () => send(progressFrame(sequence)),
      onEnd: (error) => {
        running.delete(sequence);
        // First, so that whoever sees the end finds the numbers to be those after it.
        if (tellsStatistics) send(statisticsFrame(instance, hosted));
        send(endFrame(sequence, error, iteration.inputTokens, iteration.outputTokens));
      },
    };
    const iteration = new DecoupledIteration(hosted, inputs, parameters, sink, request, this.#progressMs);
    running.set(sequence, iteration);
    void iteration.run();
  }

  /** Once more after the last request: what a cancelled one held may be free a little later. */
  readonly #sendStatistics = (): void => {
    for (const [instance, hosted] of this.instances) {
      if (hosted.instance.statistics !== undefined) this.#send(statisticsFrame(instance, hosted));
    }
    if (this.#running.size > 0 || this.#statisticsTimer === null) return;
    clearInterval(this.#statisticsTimer);
    this.#statisticsTimer = null;
  };
}

/** The bytes are copied: the model may use its memory again for the next response. */
function responseFrame(sequence: number, { metadata, modelName }: HostedDecoupledInstance, outputs: readonly Tensor[]): Uint8Array {
  const recordBytes = outputRecordBytes(metadata.outputs);
  let payloadBytes = recordBytes;
  for (let i = 0; i < outputs.length; i++) payloadBytes += alignTensor(outputs[i]!.data.length);
  if (payloadBytes > MAX_TENSOR_FRAME_BYTES) {
    const text = `model '${modelName}' gave a response of ${payloadBytes} bytes, over the limit of ${MAX_TENSOR_FRAME_BYTES} for one; give it in parts`;
    throw new InferenceError('RESOURCE_EXHAUSTED', text);
  }
  const frame = newFrame(FRAME_KIND.response, payloadBytes);
  writeTensorsRecord(recordWords(frame, recordBytes), sequence, metadata, outputs, recordBytes);
  let at = PAYLOAD_OFFSET + recordBytes;
  for (let i = 0; i < outputs.length; i++) {
    const { data } = outputs[i]!;
    frame.set(data, at);
    at += alignTensor(data.length);
  }
  return frame.subarray(LEAD_BYTES);
}

function endFrame(sequence: number, error: InferenceError | null, inputTokens = 0, outputTokens = 0): Uint8Array {
  const recordBytes = error === null ? outputRecordBytes(noOutputs) : responseBytes(noOutputs);
  const frame = newFrame(FRAME_KIND.ended, recordBytes);
  const words = recordWords(frame, recordBytes);
  if (error === null) writeEndRecord(words, sequence, inputTokens, outputTokens);
  else writeErrorRecord(words, 0, sequence, error);
  return frame.subarray(LEAD_BYTES);
}

function progressFrame(sequence: number): Uint8Array {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + CANCEL_BYTES);
  writeFrameHeader(frame, 0, FRAME_KIND.progress, CANCEL_BYTES);
  frame.writeDoubleLE(sequence, FRAME_HEADER_BYTES);
  return frame;
}

function statisticsFrame(instance: number, hosted: HostedDecoupledInstance): Uint8Array {
  const message: StatisticsMessage = { instance, statistics: readStatistics(hosted.instance)! };
  return controlFrame(FRAME_KIND.statistics, message);
}

/** The names that there are, so that the frame stays small; null: the instance tells none. */
export function readStatistics(instance: DecoupledModelInstance): EngineStatistics | null {
  const told = instance.statistics?.();
  if (told === undefined) return null;
  const { promptTokens, cachedPromptTokens, generatedTokens, steps, runningSequences, kvTokensUsed, kvTokensTotal } = told;
  return { promptTokens, cachedPromptTokens, generatedTokens, steps, runningSequences, kvTokensUsed, kvTokensTotal };
}

function newFrame(kind: FrameKind, payloadBytes: number): Buffer {
  const frame = Buffer.allocUnsafeSlow(PAYLOAD_OFFSET + payloadBytes);
  writeFrameHeader(frame, LEAD_BYTES, kind, payloadBytes);
  return frame;
}

function recordWords(frame: Buffer, recordBytes: number): Float64Array {
  return new Float64Array(frame.buffer, PAYLOAD_OFFSET, recordBytes / WORD_BYTES);
}
