/** @hotpath copies the first requests of each model version on their way out; a look-up for all others (measured by infer.bench.ts) */

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import type { Model } from '../repository/model.ts';

export interface RequestRecorderOptions {
  /** Each model's file is `<directory>/<model>/requests-<version>.jsonl`. */
  readonly directory: string;
  /** Requests of each model version; those in its file from earlier count. */
  readonly count: number;
  /** A line of V2 JSON, in pieces; returns false when JSON cannot carry the request. */
  readonly encode: (request: RecordedRequest) => Generator<Uint8Array, boolean, undefined>;
  /** Hears once of a model version whose requests cannot be written. */
  readonly warn: (message: string) => void;
}

/** The server's own copy of what is written. */
export type RecordedRequest = Pick<InferenceRequest, 'inputs' | 'outputs' | 'parameters'>;

/** A larger request is not recorded: to warm up with, a smaller one does. */
const MAX_REQUEST_BYTES = 1024 * 1024;
/** Copied and not yet written, of all models. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
const MAX_WAITING = 1_000;
/** As much as `warmup_requests` takes. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** Model versions over the life of the server. */
const MAX_RECORDINGS = 10_000;
/** A directory's name, and never one that is hidden or leads elsewhere. */
const SAFE_NAME = /^(?!\.)[^\p{Cc}/\\]{1,200}$/u;

interface Recording {
  readonly label: string;
  /** null: its name is no file name. */
  readonly path: string | null;
  /** Requests still to be taken; 0: it is complete, or cannot be written. */
  left: number;
  /** Requests that JSON could not carry and that may still come, before it is given up. */
  skipsLeft: number;
  /** Lines and bytes in the file; -1: not looked at yet. */
  lines: number;
  bytes: number;
}

interface Waiting {
  readonly recording: Recording;
  readonly request: RecordedRequest;
  readonly byteLength: number;
}

/**
 * Writes down the first requests of each model version that were answered without an error, as files that `warmup_requests` takes. A request
 * pays for a copy of its inputs at most; what there is no memory for, and what JSON cannot carry, is left out. It never fails a request.
 */
export class RequestRecorder {
  readonly #options: RequestRecorderOptions;
  readonly #byModel: WeakMap<object, Recording> = new WeakMap();
  /** By name and version: a model that is loaded again goes on where it was. */
  readonly #recordings: Map<string, Recording> = new Map();
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | null = null;
  #isStopped = false;

  constructor(options: RequestRecorderOptions) {
    this.#options = options;
  }

  /** A request that has succeeded; its inputs are still as they came. */
  record(request: InferenceRequest): void {
    const model = request.model as Model;
    const recording = this.#byModel.get(model) ?? this.#open(model);
    if (recording.left === 0 || this.#isStopped) return;
    const { inputBytes } = request;
    if (inputBytes > MAX_REQUEST_BYTES || this.#waitingBytes + inputBytes > MAX_WAITING_BYTES || this.#waiting.length === MAX_WAITING)
      return;
    recording.left--;
    this.#waitingBytes += inputBytes;
    this.#waiting.push({ recording, request: copyOf(request), byteLength: inputBytes });
    this.#writing ??= this.#write();
  }

  /** Takes no more, and resolves when everything taken is written. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#writing;
  }

  #open(model: Model): Recording {
    const { name, version } = model;
    const label = `${name}:${version}`;
    let recording = this.#recordings.get(label);
    if (recording === undefined) {
      const isSafe = SAFE_NAME.test(name) && Buffer.byteLength(name) <= 255 && /^\d+$/.test(version);
      const path = isSafe ? join(this.#options.directory, name, `requests-${version}.jsonl`) : null;
      const isWanted = path !== null && this.#recordings.size < MAX_RECORDINGS;
      recording = { label, path, left: isWanted ? this.#options.count : 0, skipsLeft: this.#options.count, lines: -1, bytes: 0 };
      if (this.#recordings.size < MAX_RECORDINGS) this.#recordings.set(label, recording);
      if (path === null) this.#options.warn(`requests of model '${label}' are not recorded: its name is not one for a directory`);
    }
    this.#byModel.set(model, recording);
    return recording;
  }

  async #write(): Promise<void> {
    // Not in the turn that answers the request.
    await turn();
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const { recording, request, byteLength } = next;
      try {
        await this.#writeOne(recording, request);
      } catch (error) {
        recording.left = 0;
        recording.lines = Number.POSITIVE_INFINITY;
        const reason = error instanceof Error ? error.message : String(error);
        this.#options.warn(`requests of model '${recording.label}' cannot be recorded: ${reason}`);
      }
      this.#waitingBytes -= byteLength;
    }
    this.#writing = null;
  }

  async #writeOne(recording: Recording, request: RecordedRequest): Promise<void> {
    const { count } = this.#options;
    const path = recording.path!;
    if (recording.lines < 0) {
      await readBack(path, recording);
      recording.left = Math.max(0, recording.left - recording.lines);
    }
    if (recording.lines >= count) return;
    const line = await this.#encode(request);
    if (line === null) {
      recording.skipsLeft--;
      recording.left = recording.skipsLeft > 0 ? recording.left + 1 : 0;
    } else if (recording.bytes + line.length > MAX_FILE_BYTES) {
      recording.left = 0;
    } else {
      await append(path, line, recording.bytes);
      recording.lines++;
      recording.bytes += line.length;
    }
  }

  async #encode(request: RecordedRequest): Promise<Uint8Array | null> {
    const pieces: Uint8Array[] = [];
    const encoding = this.#options.encode(request);
    for (let step = encoding.next(); ; step = encoding.next()) {
      if (step.done) return step.value ? Buffer.concat(pieces) : null;
      pieces.push(step.value);
      await turn();
    }
  }
}

function copyOf({ inputs, outputs, parameters }: InferenceRequest): RecordedRequest {
  const copies = new Array<Tensor>(inputs.length);
  for (let i = 0; i < inputs.length; i++) {
    const { name, datatype, shape, data } = inputs[i]!;
    // Uint8Array's slice copies, Buffer's does not.
    copies[i] = { name, datatype, shape: shape.slice(), data: Uint8Array.prototype.slice.call(data) };
  }
  return { inputs: copies, outputs, parameters };
}

/** Requests are their senders' business: nobody else on the machine may read them. */
function openFile(path: string): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  return open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0o600);
}

/** Counts what an earlier run of the server has written, and cuts off a last line that it did not finish. */
async function readBack(path: string, recording: Recording): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const handle = await openFile(path);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new Error(`'${path}' is not a file`);
    if (found.size > MAX_FILE_BYTES) {
      recording.lines = Number.POSITIVE_INFINITY;
      return;
    }
    const bytes = await handle.readFile();
    let lines = 0;
    let end = 0;
    for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, end)) {
      lines++;
      end = at + 1;
    }
    if (end < bytes.length) await handle.truncate(end);
    recording.lines = lines;
    recording.bytes = end;
  } finally {
    await handle.close();
  }
}

/** All of the line, or nothing of it. `bytes`: what the file has. */
async function append(path: string, line: Uint8Array, bytes: number): Promise<void> {
  const handle = await openFile(path);
  try {
    await handle.appendFile(line);
  } catch (error) {
    await handle.truncate(bytes);
    throw error;
  } finally {
    await handle.close();
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
