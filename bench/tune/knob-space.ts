import { InferenceError } from '../../proto/inference-error.ts';
import { type ConfigDocument, groupsOf, type HostKind, isObject, type KnobName, type Knobs, type ThreadParameter } from './knobs.ts';

/** What may be tried. */
export interface KnobSpace {
  readonly present: Knobs;
  /** Those with at least two values, ascending; the present one is always among them. */
  readonly axes: readonly KnobAxis[];
  /** What is left as it is, and why: `instances: the model has several instance groups`. */
  readonly fixed: readonly string[];
  /** Whether the values go together; the present configuration always does. */
  isAllowed(knobs: Knobs): boolean;
}

export type KnobAxis = { readonly [N in KnobName]: { readonly knob: N; readonly values: readonly Knobs[N][] } }[KnobName];

/** Lists of flags; null: not given. */
export interface KnobLists {
  readonly maxBatch: readonly number[] | null;
  readonly delaysUs: readonly number[] | null;
  readonly instances: readonly number[] | null;
  readonly threads: readonly number[] | null;
  readonly hosts: readonly HostKind[];
}

export interface KnobSpaceOptions {
  readonly config: ConfigDocument;
  readonly present: Knobs;
  readonly threads: ThreadParameter | null;
  readonly lists: KnobLists;
  /** Instances times threads, at the most. */
  readonly cores: number;
  /** That can be in flight at once: a larger batch never fills. */
  readonly rowsInFlight: number;
  /** Rows of one request: a smaller batch refuses it. */
  readonly rowsOfRequest: number;
  /** A delay as long is of no use; Infinity: no limit was given. */
  readonly latencyLimitUs: number;
}

const DELAYS_US = [0, 100, 500, 2000];
/** The largest batch tried beside the present one, unless a list says otherwise. */
const MAX_BATCH = 512;

/** Throws InferenceError for an ensemble, which has nothing of its own to tune. */
export function knobSpace(options: KnobSpaceOptions): KnobSpace {
  const { config, present, cores } = options;
  if (isObject(config['ensemble_scheduling'])) throw ensembleError(config, config['ensemble_scheduling']);
  const axes: KnobAxis[] = [];
  const fixed: string[] = [];
  const add = <N extends KnobName>(knob: N, values: readonly Knobs[N][] | string): void => {
    if (typeof values === 'string') fixed.push(values);
    else {
      const all = [...new Set([...values, present[knob]])].sort((a, b) => (a < b ? -1 : 1));
      if (all.length > 1) axes.push({ knob, values: all } as unknown as KnobAxis);
    }
  };
  add('instances', instanceValues(options));
  add('threads', threadValues(options));
  add('queueDelayUs', delayValues(options));
  add('maxBatchSize', batchValues(options));
  add('host', hostValues(options));
  const threadsOf = (knobs: Knobs): number => (knobs.threads === 0 ? cores : knobs.threads);
  const isPresent = (knobs: Knobs): boolean => knobs.instances === present.instances && knobs.threads === present.threads;
  return {
    present,
    axes,
    fixed,
    isAllowed: (knobs) =>
      (isPresent(knobs) || knobs.instances * threadsOf(knobs) <= cores) &&
      // Without sharing, no execution has more rows than a request.
      (knobs.queueDelayUs >= 0 || knobs.maxBatchSize === present.maxBatchSize),
  };
}

function instanceValues({ config, lists, cores }: KnobSpaceOptions): readonly number[] | string {
  const groups = groupsOf(config);
  if (groups.length > 1) return 'instances: the model has several instance_group entries; which of them grows is yours to say';
  return lists.instances ?? powersOfTwo(1, cores);
}

function threadValues({ config, threads, lists, cores }: KnobSpaceOptions): readonly number[] | string {
  if (threads === null) return `threads: the backend '${String(config['backend'])}' has no parameter for them`;
  return lists.threads ?? powersOfTwo(1, cores);
}

function delayValues({ config, present, lists, latencyLimitUs }: KnobSpaceOptions): readonly number[] | string {
  const why = whyNoSharing(config, present);
  if (why !== '') return `delay: ${why}`;
  return lists.delaysUs ?? DELAYS_US.filter((delay) => delay < latencyLimitUs);
}

function batchValues({ config, present, lists, rowsInFlight, rowsOfRequest }: KnobSpaceOptions): readonly number[] | string {
  const why = whyNoSharing(config, present, false);
  if (why !== '') return `batch: ${why}`;
  if (lists.maxBatch !== null) return lists.maxBatch.filter((size) => size >= rowsOfRequest);
  // Only larger ones: requests that are answered now would be refused by a smaller one.
  const values: number[] = [];
  for (let size = present.maxBatchSize * 2; size <= MAX_BATCH; size *= 2) {
    values.push(size);
    if (size >= rowsInFlight) break;
  }
  return rowsInFlight > present.maxBatchSize ? values : [];
}

/** '': requests can share executions. */
function whyNoSharing(config: ConfigDocument, present: Knobs, isDelay = true): string {
  if (isObject(config['sequence_batching'])) return 'a sequence model batches by its sequences';
  const policy = config['model_transaction_policy'];
  if (isObject(policy) && policy['decoupled'] === true) return 'a decoupled model runs its requests by itself';
  if (present.maxBatchSize < 1) return 'the model has no batch dimension (max_batch_size is 0)';
  if (isDelay && present.maxBatchSize === 1 && present.queueDelayUs < 0) return 'max_batch_size is 1';
  return '';
}

function hostValues({ config, lists }: KnobSpaceOptions): readonly HostKind[] | string {
  if (config['backend'] === 'javascript' && lists.hosts.length > 1) return 'host: a model in JavaScript always has processes of its own';
  return lists.hosts;
}

function ensembleError(config: ConfigDocument, scheduling: ConfigDocument): InferenceError {
  const steps = Array.isArray(scheduling['step']) ? scheduling['step'].filter(isObject).map((step) => String(step['model_name'])) : [];
  const names = [...new Set(steps)].join(', ');
  return new InferenceError(
    'INVALID_ARGUMENT',
    `'${String(config['name'])}' is an ensemble, which has no batches, instances or threads of its own; tune its steps: ${names}`,
  );
}

function powersOfTwo(from: number, to: number): number[] {
  const values: number[] = [];
  for (let value = from; value <= to; value *= 2) values.push(value);
  return values;
}
