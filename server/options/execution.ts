import type { OptionTable } from './option-declaration.ts';
import { bytesKind, choiceKind, integerKind, switchKind } from './option-kind.ts';
import { GIB, MIB, milliseconds } from './option-units.ts';

export interface ExecutionOptions {
  readonly executionHost: 'process' | 'inline';
  readonly executionTimeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly hostMemoryBytes: number;
  readonly tensorMemoryBytes: number;
  readonly maxInflightRequests: number;
  readonly maxQueueSize: number;
  readonly learnedBatching: boolean;
  readonly maxQueueTimeMs: number;
}

export const executionOptions: OptionTable<ExecutionOptions> = {
  executionHost: {
    flag: 'execution-host',
    group: 'Execution',
    kind: choiceKind('process', 'inline'),
    default: 'process',
    doc: 'Where models run: in processes of their own, or on the loop that reads sockets (only for trusted models of a few microseconds).',
  },
  executionTimeoutMs: {
    flag: 'execution-timeout-ms',
    group: 'Execution',
    kind: milliseconds,
    default: 30_000,
    doc: 'An execution that takes longer ends its host process, which is replaced. For a decoupled model: a request that brings no response for as long while its caller takes them is ended.',
  },
  loadTimeoutMs: {
    flag: 'load-timeout-ms',
    group: 'Execution',
    kind: milliseconds,
    default: 120_000,
    doc: 'A model that takes longer to load has failed.',
  },
  hostMemoryBytes: {
    flag: 'host-memory-bytes',
    group: 'Execution',
    kind: bytesKind(0),
    default: 0,
    doc: 'Memory that a host process may use before it is replaced; 0: no limit.',
  },
  tensorMemoryBytes: {
    flag: 'tensor-memory-bytes',
    group: 'Execution',
    kind: bytesKind(MIB),
    default: GIB,
    doc: 'Shared memory for the tensors of each host. Address space: memory is taken as it is used.',
  },
  maxInflightRequests: {
    flag: 'max-inflight-requests',
    group: 'Execution',
    kind: integerKind('COUNT', 1),
    default: 8_192,
    doc: 'Inference requests in the server at one time. Those beyond it are answered 503.',
  },
  maxQueueSize: {
    flag: 'max-queue-size',
    group: 'Execution',
    kind: integerKind('COUNT', 1),
    default: 4_096,
    doc: 'Requests that may wait for one model whose configuration sets no max_queue_size.',
  },
  learnedBatching: {
    flag: 'learned-batching',
    group: 'Execution',
    kind: switchKind,
    default: true,
    doc: 'Learn how long batches take; by that keep them small enough for their deadlines, hold incomplete ones only while waiting pays, and refuse with 503 what would come too late.',
  },
  maxQueueTimeMs: {
    flag: 'max-queue-time-ms',
    group: 'Execution',
    kind: milliseconds,
    default: 10_000,
    doc: 'With --learned-batching: a request without a deadline that would wait for longer is answered 503. A model may have its own (learned_batching.max_queue_time_microseconds).',
  },
};
