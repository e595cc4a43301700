import { InferenceError } from '../../proto/inference-error.ts';

/**
 * What Triton's clients may ask for and this server does not do: a plain refusal, in the same words on every protocol, rather than an unknown route or method, which would
 * read like a typing mistake.
 */
export type Missing = 'shared memory' | 'trace' | 'logging';

const SENTENCES: Readonly<Record<Missing, string>> = {
  'shared memory': 'Client shared memory is disabled: it is',
  trace: 'the trace extension is',
  logging: 'changing the log over the network is',
};

export function notYet(missing: Missing): InferenceError {
  return new InferenceError('UNIMPLEMENTED', `${SENTENCES[missing]} not supported by this server yet`);
}

/** That no region is there is true, so lists of them are empty and no name is one. */
export function noSharedMemoryRegion(name: string): InferenceError {
  return new InferenceError('NOT_FOUND', `Unable to find shared memory region '${name}': none is registered`);
}
