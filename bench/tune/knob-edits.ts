import { type ConfigDocument, groupsOf, isObject, type Knobs, type ThreadParameter } from './knobs.ts';

/** One field of a configuration, set. Members of `path` are field names, keys of maps, and indices of lists. */
export interface FieldEdit {
  readonly path: readonly (string | number)[];
  readonly value: unknown;
}

/**
 * What has to be set in `document` so that a model that is configured as `from` becomes one that is configured as `to`; fields that stay are not touched. `document`: the server's whole
 * configuration, or what its author wrote down of it. The host is not there: no configuration says it.
 */
export function knobEdits(document: ConfigDocument, from: Knobs, to: Knobs, threads: ThreadParameter | null): FieldEdit[] {
  const edits: FieldEdit[] = [];
  if (from.maxBatchSize !== to.maxBatchSize) edits.push({ path: ['max_batch_size'], value: to.maxBatchSize });
  edits.push(...batchingEdits(document, from, to));
  if (from.instances !== to.instances) edits.push(instanceEdit(document, to.instances));
  if (from.threads !== to.threads && threads !== null) edits.push(parameterEdit(document, threads.name, String(to.threads)));
  return edits;
}

/** `document` with the edits made; what it does not share with the old one is new. */
export function withEdits(document: ConfigDocument, edits: readonly FieldEdit[]): ConfigDocument {
  return edits.reduce<unknown>((changed, { path, value }) => withField(changed, path, value), document) as ConfigDocument;
}

function withField(node: unknown, path: readonly (string | number)[], value: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return value;
  if (typeof first === 'number') {
    const list = Array.isArray(node) ? [...(node as unknown[])] : [];
    list[first] = withField(list[first], rest, value);
    return list;
  }
  const object = isObject(node) ? node : {};
  return { ...object, [first]: withField(object[first], rest, value) };
}

function batchingEdits(document: ConfigDocument, from: Knobs, to: Knobs): FieldEdit[] {
  if (to.queueDelayUs < 0) return [];
  const batching = document['dynamic_batching'];
  const edits: FieldEdit[] = [];
  const delay = { max_queue_delay_microseconds: to.queueDelayUs };
  if (!isObject(batching)) {
    // Nothing is written, and the server may still have filled it in: then only a delay has to be said.
    if (from.queueDelayUs !== to.queueDelayUs) edits.push({ path: ['dynamic_batching'], value: to.queueDelayUs === 0 ? {} : delay });
    return edits;
  }
  if (from.queueDelayUs !== to.queueDelayUs) {
    edits.push({ path: ['dynamic_batching', 'max_queue_delay_microseconds'], value: to.queueDelayUs });
  }
  const sizes = preferredSizes(batching, from.maxBatchSize, to.maxBatchSize);
  if (sizes !== null) edits.push({ path: ['dynamic_batching', 'preferred_batch_size'], value: sizes });
  return edits;
}

/** null: they stay. The server fills in the largest batch where nothing is preferred, so that goes with it; sizes beyond it would be refused. */
function preferredSizes(batching: ConfigDocument, from: number, to: number): readonly number[] | null {
  const sizes = batching['preferred_batch_size'];
  if (from === to || !Array.isArray(sizes) || sizes.length === 0) return null;
  const numbers = sizes.map(Number);
  if (numbers.length === 1 && numbers[0] === from) return [to];
  return numbers.some((size) => size > to) ? numbers.filter((size) => size <= to) : null;
}

function instanceEdit(document: ConfigDocument, count: number): FieldEdit {
  return groupsOf(document).length === 0
    ? { path: ['instance_group'], value: [{ count, kind: 'KIND_CPU' }] }
    : { path: ['instance_group', 0, 'count'], value: count };
}

/** YAML may have the value without `string_value` around it: a document that was read by the server's own reader has not. */
function parameterEdit(document: ConfigDocument, name: string, value: string): FieldEdit {
  const parameters = document['parameters'];
  const present = isObject(parameters) ? parameters[name] : undefined;
  return present === undefined
    ? { path: ['parameters', name], value: { string_value: value } }
    : { path: ['parameters', name, 'string_value'], value };
}
