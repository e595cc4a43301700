import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { InferenceError } from '../../../proto/inference-error.ts';
import { AddonLog, type WriteLog } from './addon-log.ts';
import type { LlamaAddon } from './llama-addon.ts';

export interface LoadedAddon {
  readonly addon: LlamaAddon;
  /** Of `@node-llama-cpp/`. */
  readonly packageName: string;
  readonly version: string;
  /** llama.cpp's last errors since the last call, once its log has arrived. */
  takeProblems(): Promise<readonly string[]>;
}

/** What package.json asks for; the addon's classes are no public interface, so another one may fit no more. */
const LOWEST = [3, 21, 1] as const;
const BELOW = [3, 23, 0] as const;
const RANGE = '>=3.21.1 <3.23.0';

/** Best first: a GPU's package is installed on purpose. */
const packages: Readonly<Record<string, readonly string[]>> = {
  'linux-x64': ['linux-x64-cuda', 'linux-x64-vulkan', 'linux-x64'],
  'linux-arm64': ['linux-arm64'],
  'linux-arm': ['linux-armv7l'],
  'darwin-arm64': ['mac-arm64-metal'],
  'darwin-x64': ['mac-x64'],
  'win32-x64': ['win-x64-cuda', 'win-x64-vulkan', 'win-x64'],
  'win32-arm64': ['win-arm64'],
};

const needed: readonly (keyof LlamaAddon)[] = [
  'AddonModel',
  'AddonModelLora',
  'AddonContext',
  'AddonSampler',
  'AddonGrammar',
  'AddonGrammarEvaluationState',
  'AddonJinjaRenderer',
  'setLogger',
  'setLoggerLogLevel',
  'loadBackends',
  'init',
  'systemInfo',
  'getGpuType',
  'getGpuVramInfo',
];

const neededOfContext: readonly string[] = [
  'init',
  'initBatch',
  'addToBatch',
  'decodeBatch',
  'sampleToken',
  'removeTokenCellsFromSequence',
];

let loading: Promise<LoadedAddon> | null = null;

/** The addon of this process; the first caller's log is the one that llama.cpp writes to. Throws UNAVAILABLE: which package is missing, or does not fit. */
export function loadAddon(write: WriteLog): Promise<LoadedAddon> {
  loading ??= load(write, packagesOf(platform(), arch()), (name) => import(name)).catch((error: unknown) => {
    loading = null;
    throw error;
  });
  return loading;
}

/** Those that could serve such a machine, best first. */
export function packagesOf(system: string, cpu: string): readonly string[] {
  const found = packages[`${system}-${cpu}`];
  if (found !== undefined) return found;
  throw new InferenceError(
    'UNAVAILABLE',
    `llamacpp: there is no build of llama.cpp for ${system} on ${cpu}; known: ${Object.keys(packages).join(', ')}`,
  );
}

/** `importPackage` as `import`, but for what the packages need of it. */
export async function load(
  write: WriteLog,
  names: readonly string[],
  importPackage: (name: string) => Promise<unknown>,
): Promise<LoadedAddon> {
  for (const name of names) {
    const found = await findAddon(`@node-llama-cpp/${name}`, name, importPackage, write);
    if (found === null) continue;
    const log = new AddonLog(write);
    await start(found.addon, found.path, log);
    return {
      addon: found.addon,
      packageName: name,
      version: found.version,
      async takeProblems() {
        // The log comes through a queue of its own, behind the answer that it explains.
        for (let turn = 0; turn < 3; turn++) await setImmediate();
        return log.takeProblems();
      },
    };
  }
  const plain = names.at(-1)!;
  throw new InferenceError(
    'UNAVAILABLE',
    `llamacpp: the package @node-llama-cpp/${plain} is not installed; npm install "@node-llama-cpp/${plain}@${RANGE}"${names.length > 1 ? `, or for a GPU @node-llama-cpp/${names.slice(0, -1).join(' or ')}` : ''}`,
  );
}

interface FoundAddon {
  readonly addon: LlamaAddon;
  readonly path: string;
  readonly version: string;
}

/** Null: not installed. */
async function findAddon(
  full: string,
  name: string,
  importPackage: (name: string) => Promise<unknown>,
  write: WriteLog,
): Promise<FoundAddon | null> {
  let binaries: { readonly binsDir: string; readonly packageVersion: string };
  try {
    const module = (await importPackage(full)) as { getBinsDir?(): typeof binaries };
    // A placeholder for a platform that is not this one.
    if (typeof module.getBinsDir !== 'function') return null;
    binaries = module.getBinsDir();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') return null;
    throw new InferenceError('UNAVAILABLE', `llamacpp: the package ${full} cannot be loaded; install it anew`, { cause: error });
  }
  if (!isInRange(binaries.packageVersion)) {
    throw new InferenceError(
      'UNAVAILABLE',
      `llamacpp: ${full}: expected a version ${RANGE}, got ${binaries.packageVersion}; npm install "${full}@${RANGE}"`,
    );
  }
  const path = join(binaries.binsDir, name, 'llama-addon.node');
  let addon: LlamaAddon;
  try {
    addon = createRequire(import.meta.url)(path) as LlamaAddon;
  } catch (error) {
    const reason = `${full}: its addon cannot be loaded: ${(error as Error).message.split('\n')[0]}`;
    // A GPU's build needs the libraries of its maker; without them the plain one serves.
    if (name.endsWith('-cuda') || name.endsWith('-vulkan')) {
      write('warn', `llamacpp: ${reason}`);
      return null;
    }
    throw new InferenceError('UNAVAILABLE', `llamacpp: ${reason}`, { cause: error });
  }
  checkAddon(addon, full, binaries.packageVersion);
  return { addon, path, version: binaries.packageVersion };
}

/** Throws UNAVAILABLE where something is missing that we use. */
export function checkAddon(addon: LlamaAddon, full: string, version: string): void {
  const missing = [
    ...needed.filter((name) => typeof addon[name] !== 'function'),
    ...(typeof addon.AddonContext === 'function'
      ? neededOfContext.filter((name) => !(name in (addon.AddonContext.prototype as object))).map((name) => `AddonContext.${name}`)
      : []),
  ];
  if (missing.length === 0) return;
  throw new InferenceError('UNAVAILABLE', `llamacpp: ${full} ${version} lacks ${missing.join(', ')}; install another version of ${RANGE}`);
}

export function isInRange(version: string): boolean {
  const parts = /^(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  if (parts === undefined) return false;
  return compare(parts, LOWEST) >= 0 && compare(parts, BELOW) < 0;
}

function compare(left: readonly number[], right: readonly number[]): number {
  for (let i = 0; i < 3; i++) if (left[i] !== right[i]) return left[i]! - right[i]!;
  return 0;
}

async function start(addon: LlamaAddon, path: string, log: AddonLog): Promise<void> {
  addon.setLogger((level, text) => log.take(level, text));
  addon.setLoggerLogLevel(4);
  try {
    addon.loadBackends();
    // The processor's own kernels, and a GPU's, are libraries beside the addon.
    addon.loadBackends(dirname(path));
    await addon.init();
  } catch (error) {
    throw new InferenceError('UNAVAILABLE', `llamacpp: llama.cpp does not start: ${(error as Error).message}`, { cause: error });
  }
}
