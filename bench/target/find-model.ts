import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { type ControlCalls, isAnswer } from './control-calls.ts';
import { describeModel } from './describe-model.ts';
import type { TargetModel } from './target.ts';

/** Names in a message; a repository may have thousands. */
const MAX_NAMES = 10;

/**
 * The model as the server describes it, ready to serve. Throws what the server says, NOT_FOUND with the nearest name, or UNAVAILABLE with the reason where it is not ready. Metadata come
 * first: a server that loads on demand loads the model for them, and not for the question whether it is ready.
 */
export async function findModel(calls: ControlCalls, name: string, version: string): Promise<TargetModel> {
  let model: TargetModel;
  try {
    const metadata = await calls.modelMetadata(name, version);
    model = describeModel(metadata, await calls.modelConfig(name, version), version);
  } catch (error) {
    throw isAnswer(error) ? await explainMissing(calls, name, version, error) : error;
  }
  if (await calls.isModelReady(name, version)) return model;
  throw await notReady(calls, name, version);
}

/** `'a', 'b', 'c' and 12 more`. */
function listNames(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).map((name) => `'${name}'`);
  return `${shown.join(', ')}${names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : ''}`;
}

export function unknownModel(name: string, names: readonly string[]): InferenceError {
  const known = names.length === 0 ? 'it has none' : `it has ${listNames(names)}`;
  return new InferenceError(
    'NOT_FOUND',
    `model '${name}': the server has no such model${didYouMean(name, names)}${didYouMean(name, names) === '' ? `; ${known}` : ''}`,
  );
}

async function explainMissing(calls: ControlCalls, name: string, version: string, error: InferenceError): Promise<InferenceError> {
  if (error.code === 'UNAUTHENTICATED' || error.code === 'PERMISSION_DENIED' || error.code === 'INTERNAL') return error;
  const index = await calls.repositoryIndex().catch(() => null);
  const names = [...new Set(index?.map((entry) => entry.name) ?? [])].sort();
  if (index !== null && !names.includes(name)) return unknownModel(name, names);
  if (version !== '') {
    const versions = (await calls.modelMetadata(name, '').catch(() => null))?.versions ?? [];
    if (versions.length > 0 && !versions.includes(version)) {
      return new InferenceError('NOT_FOUND', `model '${name}': expected version ${versions.join(' or ')}, got ${version}: --model-version`);
    }
  }
  // Only a server with an index tells 'unknown' from 'not loaded'.
  return index === null ? new InferenceError(error.code, `model '${name}': ${error.message}`) : notReady(calls, name, version);
}

async function notReady(calls: ControlCalls, name: string, version: string): Promise<InferenceError> {
  const index = (await calls.repositoryIndex().catch(() => null)) ?? [];
  const entry = index.find((one) => one.name === name && (version === '' || one.version === version || one.version === ''));
  const state = entry === undefined || entry.state === '' ? 'is not ready' : `is ${entry.state}, not READY`;
  const reason = entry === undefined || entry.reason === '' ? '' : ` (${entry.reason})`;
  const label = version === '' ? `'${name}'` : `'${name}' version ${version}`;
  return new InferenceError(
    'UNAVAILABLE',
    `model ${label}: it ${state}${reason}: load it first, POST /v2/repository/models/${encodeURIComponent(name)}/load`,
  );
}
