/** @hotpath once per call that the model's code makes (measured by request-channel.bench.ts) */

import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { RequestSequence } from '../api/backend.ts';
import type { CallOptions } from './model-api.ts';
import { shown } from './tensor-from.ts';

type Parameters = Readonly<Record<string, string | number | boolean>>;

export interface ReadCallOptions {
  readonly version: string;
  readonly outputs: readonly string[];
  readonly parameters: Parameters;
  readonly id: string;
  readonly priority: number;
  readonly sequence: RequestSequence | null;
  /** Milliseconds; null: none. */
  readonly timeoutMs: number | null;
  readonly signal: AbortSignal | null;
}

/** A longer one would overflow a timer, which then fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const MAX_SEQUENCE_ID = 2n ** 64n - 1n;
const MAX_SEQUENCE_ID_BYTES = 128;
const OPTIONS: readonly string[] = ['version', 'outputs', 'parameters', 'id', 'priority', 'sequence', 'timeoutMs', 'signal'];
const SEQUENCE_OPTIONS: readonly string[] = ['id', 'isStart', 'isEnd'];
const none: ReadCallOptions = {
  version: '',
  outputs: [],
  parameters: {},
  id: '',
  priority: 0,
  sequence: null,
  timeoutMs: null,
  signal: null,
};

/** What the code gave beside a call's inputs, checked here, where the mistake is: the server ends a host that sends it nonsense. Throws INVALID_ARGUMENT that names the option. */
export function readCallOptions(model: string, given: CallOptions | undefined): ReadCallOptions {
  if (given === undefined) return none;
  if (typeof given !== 'object' || given === null) throw wrong(model, 'options', 'an object', given);
  refuseUnknown(model, '', given, OPTIONS);
  const { version = '', outputs = [], parameters = {}, id = '', priority = 0, sequence, timeoutMs, signal } = given;
  if (typeof version !== 'string' && !(typeof version === 'number' && Number.isSafeInteger(version)))
    throw wrong(model, 'version', 'a whole number or a string', version);
  if (!Array.isArray(outputs) || !outputs.every((name) => typeof name === 'string'))
    throw wrong(model, 'outputs', "a list of outputs' names", outputs);
  if (typeof id !== 'string') throw wrong(model, 'id', 'a string', id);
  if (!Number.isSafeInteger(priority) || priority < 0) throw wrong(model, 'priority', 'a whole number of 0 or more', priority);
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs >= 0))
    throw wrong(model, 'timeoutMs', 'milliseconds, 0 or more', timeoutMs);
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong(model, 'signal', 'an AbortSignal', signal);
  checkParameters(model, parameters);
  return {
    version: String(version),
    outputs,
    parameters,
    id,
    priority,
    sequence: sequence === undefined ? null : sequenceFrom(model, sequence),
    timeoutMs: timeoutMs === undefined ? null : Math.min(timeoutMs, MAX_TIMER_MS),
    signal: signal ?? null,
  };
}

function checkParameters(model: string, parameters: unknown): void {
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters))
    throw wrong(model, 'parameters', 'an object', parameters);
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
      throw wrong(model, `parameters.${name}`, 'a string, a number, true or false', value);
  }
}

/** As at the doors: 0 and "" are none. */
function sequenceFrom(model: string, sequence: NonNullable<CallOptions['sequence']>): RequestSequence | null {
  if (typeof sequence !== 'object' || sequence === null) throw wrong(model, 'sequence', '{ id, isStart, isEnd }', sequence);
  refuseUnknown(model, 'sequence.', sequence, SEQUENCE_OPTIONS);
  const { id, isStart = false, isEnd = false } = sequence;
  const isNumber = typeof id === 'bigint' || (typeof id === 'number' && Number.isSafeInteger(id));
  const isRight = isNumber
    ? id >= 0 && BigInt(id) <= MAX_SEQUENCE_ID
    : typeof id === 'string' && Buffer.byteLength(id) <= MAX_SEQUENCE_ID_BYTES;
  if (!isRight)
    throw wrong(model, 'sequence.id', `a whole number from 0 to 2^64-1, or a string of at most ${MAX_SEQUENCE_ID_BYTES} bytes`, id);
  const key = isNumber ? BigInt(id) : String(id);
  return key === 0n || key === '' ? null : { id: key, isStart: isStart === true, isEnd: isEnd === true };
}

/** A misspelt time limit would be none. */
function refuseUnknown(model: string, at: string, given: object, known: readonly string[]): void {
  for (const name in given) {
    if (!known.includes(name))
      throw invalidArgument(`call of model '${model}': ${at}${name}: expected one of ${known.join(', ')}${didYouMean(name, known)}`);
  }
}

function wrong(model: string, field: string, expected: string, got: unknown): Error {
  return invalidArgument(`call of model '${model}': ${field}: expected ${expected}, got ${shown(got)}`);
}
