import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { runsCode } from '../execution/runs-code.ts';
import { setLoadIdentity } from '../scheduling/cache/load-identity.ts';
import type { Model } from './model.ts';

/** A piece that is read, and digested, in one turn of the event loop. */
const PIECE_BYTES = 512 * 1024;

/**
 * Gives a cached model the identity of its contents: servers that share a response cache, and later loads, have the same for the same files and configuration. A model that is code may be made of
 * more than its files, and an ensemble is made of others: they stay as they are, each load by itself. So does every model that has no cache.
 */
export async function shareIdentity({ config, signature }: Model, modelPaths: readonly string[]): Promise<void> {
  if (config.responseCache?.enable !== true || config.ensembleScheduling !== null || runsCode(config)) return;
  const digest = createHash('sha256');
  // Instances, versions in service and such say nothing of what it answers.
  const { instanceGroup: _groups, versionPolicy: _policy, versionLabels: _labels, modelWarmup: _warmup, ...rest } = config;
  digest.update(JSON.stringify(rest, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)));
  for (const path of modelPaths.toSorted()) {
    digest.update(`\0${path.split('/').at(-1)}\0`);
    for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES })) digest.update(piece as Buffer);
  }
  const identity = digest.digest('hex');
  setLoadIdentity(signature, () => identity);
}
