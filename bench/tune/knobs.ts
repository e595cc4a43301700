/** What is tuned of a model, and how it stands in a configuration. */

/** A model configuration as JSON has it: names as in `proto/model_config.proto`. */
export type ConfigDocument = Readonly<Record<string, unknown>>;

export type HostKind = 'process' | 'inline';

export interface Knobs {
  /** 0: the model has no batch dimension. */
  readonly maxBatchSize: number;
  /** Of dynamic_batching, microseconds; -1: requests do not share executions. */
  readonly queueDelayUs: number;
  readonly instances: number;
  /** Of one instance; 0: the backend's own choice. */
  readonly threads: number;
  /** Of the whole server: a configuration cannot say it. */
  readonly host: HostKind;
}

export type KnobName = keyof Knobs;

/** The parameter that says how many threads an instance has, and what it is where nothing is said; null: the backend has none. */
export interface ThreadParameter {
  readonly name: string;
  readonly whenUnset: number;
}

export function threadParameterOf(config: ConfigDocument, cores: number): ThreadParameter | null {
  if (config['backend'] === 'onnxruntime') return { name: 'intra_op_thread_count', whenUnset: 1 };
  if (config['backend'] === 'llamacpp') return { name: 'threads', whenUnset: Math.max(1, cores - 1) };
  return null;
}

/** As the server says that the model is configured, `GET /v2/models/{model}/config`: with everything filled in. */
export function knobsOf(config: ConfigDocument, threads: ThreadParameter | null, host: HostKind): Knobs {
  const batching = config['dynamic_batching'];
  return {
    maxBatchSize: wholeOf(config['max_batch_size'], 0),
    queueDelayUs: isObject(batching) ? wholeOf(batching['max_queue_delay_microseconds'], 0) : -1,
    instances: groupsOf(config).reduce((sum, group) => sum + wholeOf(group['count'], 1), 0),
    threads: threads === null ? 1 : wholeOf(parameterOf(config, threads.name), threads.whenUnset),
    host,
  };
}

/** One for each group; a server's answer always has one. */
export function groupsOf(config: ConfigDocument): readonly ConfigDocument[] {
  const groups = config['instance_group'];
  return Array.isArray(groups) ? groups.filter(isObject) : [];
}

/** Two that are alike have the same. */
export function keyOf(knobs: Knobs): string {
  return `${knobs.maxBatchSize} ${knobs.queueDelayUs} ${knobs.instances} ${knobs.threads} ${knobs.host}`;
}

export function changedKnobs(from: Knobs, to: Knobs): KnobName[] {
  return (Object.keys(from) as KnobName[]).filter((name) => from[name] !== to[name]);
}

const WORDS: { readonly [N in KnobName]: (value: Knobs[N]) => string } = {
  maxBatchSize: (value) => `batch ${value}`,
  queueDelayUs: (value) => (value < 0 ? 'no batching' : `delay ${value} us`),
  instances: (value) => `${value} instance${value === 1 ? '' : 's'}`,
  threads: (value) => (value === 0 ? 'threads as the backend likes' : `${value} thread${value === 1 ? '' : 's'}`),
  host: (value) => `${value} host`,
};

/** `batch 32, delay 500 us`: what differs from the present configuration, or 'as it is'. */
export function describeKnobs(knobs: Knobs, present: Knobs): string {
  const changed = changedKnobs(present, knobs);
  return changed.length === 0 ? 'as it is' : changed.map((name) => describeKnob(name, knobs)).join(', ');
}

export function describeKnob(name: KnobName, knobs: Knobs): string {
  return (WORDS[name] as (value: unknown) => string)(knobs[name]);
}

export function isObject(value: unknown): value is ConfigDocument {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parameterOf(config: ConfigDocument, name: string): unknown {
  const parameters = config['parameters'];
  const value = isObject(parameters) ? parameters[name] : undefined;
  return isObject(value) ? value['string_value'] : value;
}

/** Proto JSON has 64-bit integers as strings. */
function wholeOf(value: unknown, whenUnset: number): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) ? number : whenUnset;
}
