/**
 * Entry of an execution host: a child process that runs models' instances for a gateway. Started by `process-host.ts`, which also says what the inherited
 * descriptors are (HOST_FDS). It serves until its control socket closes or the gateway dies.
 */

import { Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { InferenceError } from '../../proto/inference-error.ts';
import { CallClient } from './call-client.ts';
import { DecoupledWorker } from './decoupled-worker.ts';
import { FrameReader } from './frame-reader.ts';
import { dieWithParent } from './futex.ts';
import { HostRunLoop } from './host-run-loop.ts';
import { HostedModels } from './hosted-models.ts';
import { InstanceWorker } from './instance-worker.ts';
import { BackendLoader } from './load-backend.ts';
import {
  BOUNDARY_VERSION,
  type CreateInstanceMessage,
  controlFrame,
  type DisposeInstanceMessage,
  type DoneMessage,
  type FailedMessage,
  FRAME_KIND,
  type FrameKind,
  frameHeader,
  type HelloMessage,
  HOST_FDS,
  LARGE_OUTPUT_PREFIX_BYTES,
  type LoadedMessage,
  type LoadMessage,
  type LogMessage,
  MAX_TENSOR_FRAME_BYTES,
  type ReadyMessage,
  type UnloadMessage,
} from './messages.ts';
import { RequestWorker } from './request-worker.ts';
import { ResultFrames } from './result-frames.ts';
import { mapSharedMemory } from './shared-memory.ts';

/** Characters of one message of a model's logger; escaped, they still fit the frame. */
const MAX_LOG_LENGTH = 8192;

/** The gateway's process id is the only argument. */
const gatewayPid = Number(process.argv[2]);

try {
  dieWithParent(gatewayPid);
} catch {
  // No prctl here (no koffi, or not Linux): a thread watches the gateway's end, since the main one may be stuck in native code when it comes.
  new Worker(new URL('./watch-lifeline.js', import.meta.url), { workerData: HOST_FDS.lifeline });
}

// Ctrl-C in a terminal, and service managers, signal the whole group. The gateway then finishes what it accepted, and needs its hosts for that.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

const control = new Socket({ fd: HOST_FDS.control, readable: true, writable: true });
const worker = new InstanceWorker();
const reader = new FrameReader(onFrame);
/** Hosts of decoupled models, and those that run models' own code, work on many requests at once. */
let decoupled: DecoupledWorker | null = null;
let requests: RequestWorker | null = null;
let calls: CallClient | null = null;
let models: HostedModels | null = null;
let backends: BackendLoader | null = null;
let runLoop: HostRunLoop | null = null;
let results: ResultFrames | null = null;
/** Control requests that haven't been answered. */
let openRequests = 0;
/** What a control request is answered with; its id is added where it is sent. */
interface Answer {
  readonly kind: FrameKind;
  readonly body: Omit<LoadedMessage, 'id'> | Omit<DoneMessage, 'id'>;
}

const done: Answer = { kind: FRAME_KIND.done, body: {} };

control.on('data', (chunk: Buffer) => {
  reader.push(chunk);
  runLoop?.schedule();
});
control.on('drain', () => runLoop?.schedule());
control.on('error', () => process.exit(1));
control.on('close', () => {
  decoupled?.cancelAll();
  requests?.cancelAll();
  // Backends may have files to remove; a backend that doesn't end must not keep the process.
  setTimeout(() => process.exit(0), 500);
  void (backends?.close() ?? Promise.resolve()).finally(() => process.exit(0));
});

function onFrame(kind: number, payload: Buffer): void {
  switch (kind) {
    case FRAME_KIND.hello:
      hello(JSON.parse(payload.toString('utf8')));
      break;
    case FRAME_KIND.load:
      void answer(parse<LoadMessage>(payload), async (message) => ({
        kind: FRAME_KIND.loaded,
        body: await loaded().load(message),
      }));
      break;
    case FRAME_KIND.unload:
      void answer(parse<UnloadMessage>(payload), async (message) => {
        await loaded().unload(message);
        return done;
      });
      break;
    case FRAME_KIND.createInstance:
      void answer(parse<CreateInstanceMessage>(payload), async (message) => ({
        kind: FRAME_KIND.done,
        body: await loaded().createInstance(message),
      }));
      break;
    case FRAME_KIND.disposeInstance:
      void answer(parse<DisposeInstanceMessage>(payload), async (message) => {
        await loaded().disposeInstance(message);
        return done;
      });
      break;
    case FRAME_KIND.execute:
      execute(payload);
      break;
    case FRAME_KIND.start:
    case FRAME_KIND.cancel:
    case FRAME_KIND.credit:
      decoupled!.onFrame(kind, payload);
      break;
    case FRAME_KIND.executeRequests:
    case FRAME_KIND.abandon:
      requests!.onFrame(kind, payload);
      break;
    case FRAME_KIND.callResponse:
    case FRAME_KIND.callEnded:
      calls!.onFrame(kind, payload);
      break;
    case FRAME_KIND.wake:
      break;
    default:
      throw new Error(`a gateway doesn't send frames of kind ${kind}`);
  }
}

function parse<Message>(payload: Buffer): Message {
  return JSON.parse(payload.toString('utf8')) as Message;
}

function loaded(): HostedModels {
  if (models === null) throw new Error('the gateway has not said hello');
  return models;
}

function hello(message: HelloMessage): void {
  decoupled = new DecoupledWorker(sendSoon, message.runsCode, message.progressMs);
  if (message.runsCode) {
    const client = new CallClient(sendSoon);
    calls = client;
    requests = new RequestWorker(sendSoon);
    backends = new BackendLoader(message.backendSettings, { log: sendLog, call: (call) => client.call(call) });
  } else {
    backends = new BackendLoader(message.backendSettings);
  }
  models = new HostedModels(backends, worker, decoupled, requests);
  if (message.memoryBytes > 0) {
    runLoop = new HostRunLoop({
      memory: mapSharedMemory(HOST_FDS.memory, message.memoryBytes).buffer,
      worker,
      wakeFd: HOST_FDS.wake,
      spinUs: message.spinUs,
      needsEventLoop: () => openRequests > 0 || reader.isInFrame || control.writableLength > 0,
      sendLargeOutput,
    });
  } else {
    results = new ResultFrames(worker);
  }
  const ready: ReadyMessage = { boundaryVersion: BOUNDARY_VERSION, pid: process.pid };
  control.write(controlFrame(FRAME_KIND.ready, ready));
  // What is wrong with it is said by the load that needs it.
  if (message.preload !== '') void preload(backends, message.preload);
}

/** Counts as a request: a loop that sleeps would not get on with it. */
async function preload(from: BackendLoader, backend: string): Promise<void> {
  openRequests++;
  await from.backend(backend).catch(() => {});
  openRequests--;
  runLoop?.schedule();
}

/** Runs a control request and sends its answer; whatever goes wrong is an answer too. */
async function answer<Message extends { readonly id: number }>(
  message: Message,
  run: (message: Message) => Promise<Answer>,
): Promise<void> {
  openRequests++;
  let frame: Buffer;
  try {
    const { kind, body } = await run(message);
    frame = controlFrame(kind, { id: message.id, ...body });
  } catch (error) {
    frame = controlFrame(FRAME_KIND.failed, failed(message.id, error));
  }
  openRequests--;
  control.write(frame);
  runLoop?.schedule();
}

function failed(id: number, error: unknown): FailedMessage {
  const known = InferenceError.from(error);
  // A model that is refused has its reason; where in the code it was found out helps only where the code is at fault.
  const detail = known.code === 'INTERNAL' ? describe(known.cause ?? error) : '';
  return { id, code: known.code, message: known.message.slice(0, 8192), detail };
}

function describe(error: unknown): string {
  return (error instanceof Error ? (error.stack ?? error.message) : String(error)).slice(0, 8192);
}

/** The batch is in the frame, and so is the answer: always where memory can't be shared, and where shared memory has no room because so much of it is kept. */
function execute(payload: Buffer): void {
  results ??= new ResultFrames(worker);
  control.cork();
  for (const chunk of results.execute(payload)) control.write(chunk);
  control.uncork();
}

let isCorked = false;

function uncork(): void {
  isCorked = false;
  control.uncork();
}

/** Decoupled models: what one turn of the loop brought is written together. */
function sendSoon(frame: Uint8Array): void {
  if (!isCorked) {
    isCorked = true;
    control.cork();
    setImmediate(uncork);
  }
  control.write(frame);
}

/** What is over the bound is cut: a log is no place for data. */
function sendLog(level: LogMessage['level'], text: string): void {
  const message: LogMessage = { level, text: text.slice(0, MAX_LOG_LENGTH) };
  control.write(controlFrame(FRAME_KIND.log, message));
}

/** Shared memory transport: an output for which the gateway had not left enough room. */
function sendLargeOutput(sequence: number, outputIndex: number, data: Uint8Array): void {
  if (data.length > MAX_TENSOR_FRAME_BYTES - LARGE_OUTPUT_PREFIX_BYTES)
    throw new Error(`an output of ${data.length} bytes is over the limit of a frame`);
  const prefix = Buffer.alloc(LARGE_OUTPUT_PREFIX_BYTES);
  prefix.writeDoubleLE(sequence, 0);
  prefix.writeDoubleLE(outputIndex, 8);
  control.cork();
  control.write(frameHeader(FRAME_KIND.largeOutput, prefix.length + data.length));
  control.write(prefix);
  control.write(data);
  control.uncork();
}
