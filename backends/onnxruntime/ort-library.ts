import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi, { type LibraryHandle } from 'koffi';
import { InferenceError } from '../../proto/inference-error.ts';
import { NativeWords } from './native-words.ts';
import { ORT_API_VERSION, type OrtApi, ortFunctions } from './ort-api.ts';

/**
 * Functions run on a stack that koffi sets up, not on the thread's: 2 MiB for plain calls and 128 KiB for those on its own threads, and ONNX
 * Runtime recurses into nested graphs. The pages are committed as they are touched, so a roomy stack costs address space alone.
 */
const STACK_BYTES = 8 * 1024 * 1024;
/** Below this, a session is not created on koffi's threads. */
const MIN_LOAD_STACK_BYTES = 2 * 1024 * 1024;

const libraryFiles: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  linux: 'libonnxruntime.so.1',
  darwin: 'libonnxruntime.1.dylib',
  win32: 'onnxruntime.dll',
};

/** OrtErrorCode of `ONNX Runtime has no implementation of that`. */
export const ORT_NOT_IMPLEMENTED = 9;

/** OrtAllocatorType and OrtMemType of plain memory. */
const DEVICE_ALLOCATOR = 0;
const MEMORY_DEFAULT = 0;

export interface OrtLibrary {
  readonly api: OrtApi;
  /** Of the library, e.g. 1.30.0. */
  readonly version: string;
  /** OrtMemoryInfo for tensors over our memory; lives as long as the process. */
  readonly memoryInfo: number;
  /** ONNX Runtime's default OrtAllocator, its own property. */
  readonly allocator: number;
  /** Whether a session may be created away from this thread. */
  readonly canLoadAsync: boolean;
  /** Copies between addresses that JavaScript has no view of. */
  memcpy(to: number, from: number, bytes: number): void;
  /** Gives freed memory back to the system, where the C library does so only when asked; null elsewhere. */
  readonly trim: (() => void) | null;
}

/** All that native code may touch stays reachable from here: a collected prototype or handle would be a crash in some later call. */
let loaded: OrtLibrary | undefined;
const keptAlive: unknown[] = [];

/**
 * ONNX Runtime's shared library, loaded once a process and never unloaded. It is the one that the npm package onnxruntime-node brings along.
 * Throws UNAVAILABLE when this platform has none.
 */
export function ortLibrary(): OrtLibrary {
  loaded ??= load();
  return loaded;
}

function load(): OrtLibrary {
  // Before the library is there: otherwise it writes files of telemetry to the temporary directory and to the user's cache, and may send them.
  process.env['ORT_DISABLE_TELEMETRY'] = '1';
  const path = libraryPath();
  widenStacks();
  let library: LibraryHandle;
  let table: { GetApi: (version: number) => bigint | null; GetVersionString: () => string };
  try {
    library = koffi.load(path);
    const getBase = library.func('OrtGetApiBase', 'void *', []);
    const base = koffi.decode(getBase(), 'void *', 2) as bigint[];
    const getApiType = koffi.proto('void *', ['uint32_t']);
    const getVersionType = koffi.proto('const char *', []);
    table = { GetApi: koffi.decode(base[0], getApiType), GetVersionString: koffi.decode(base[1], getVersionType) };
    keptAlive.push(library, getBase, getApiType, getVersionType, table);
  } catch (cause) {
    throw new InferenceError('UNAVAILABLE', 'the ONNX Runtime library could not be loaded; reinstall the onnxruntime-node package', {
      cause,
    });
  }
  const version = table.GetVersionString();
  const functions = table.GetApi(ORT_API_VERSION);
  if (functions === null) {
    throw new InferenceError(
      'UNAVAILABLE',
      `ONNX Runtime ${version} is too old: version ${ORT_API_VERSION} of its C API is needed; install onnxruntime-node 1.30.0`,
    );
  }
  const api = bindFunctions(functions);
  const out = new NativeWords(1);
  check(api, api.CreateCpuMemoryInfo(DEVICE_ALLOCATOR, MEMORY_DEFAULT, out.address));
  const memoryInfo = out.get(0);
  check(api, api.GetAllocatorWithDefaultOptions(out.address));
  return {
    api,
    version,
    memoryInfo,
    allocator: out.get(0),
    canLoadAsync: (koffi.config().async_stack_size ?? 0) >= MIN_LOAD_STACK_BYTES,
    ...bindRuntimeLibrary(),
  };
}

function libraryPath(): string {
  const file = libraryFiles[process.platform];
  if (file === undefined) {
    throw new InferenceError(
      'UNAVAILABLE',
      `the onnxruntime backend has no library for ${process.platform}; it runs on linux, darwin and win32`,
    );
  }
  const require = createRequire(import.meta.url);
  let packageFile: string;
  try {
    packageFile = require.resolve('onnxruntime-node/package.json');
  } catch (cause) {
    throw new InferenceError('UNAVAILABLE', 'the onnxruntime backend needs the npm package onnxruntime-node, which is not installed', {
      cause,
    });
  }
  return join(dirname(packageFile), 'bin', 'napi-v6', process.platform, process.arch, file);
}

function widenStacks(): void {
  try {
    koffi.config({ sync_stack_size: STACK_BYTES, async_stack_size: STACK_BYTES });
  } catch {
    // Another part of the process called through koffi first, and the stacks are made: theirs do for all but deeply nested graphs.
  }
}

const resultTypes = { status: 'uintptr_t', void: 'void', int: 'int', string: 'const char *' } as const;

function bindFunctions(table: bigint): OrtApi {
  const places = koffi.decode(table, 'void *', Math.max(...Object.values(ortFunctions).map(([place]) => place)) + 1) as bigint[];
  const api: Record<string, unknown> = {};
  for (const [name, [place, result, parameters]] of Object.entries(ortFunctions)) {
    const type = koffi.proto(
      resultTypes[result],
      [...parameters].map((kind) => (kind === 'p' ? 'uintptr_t' : 'int')),
    );
    api[name] = koffi.decode(places[place], type);
    keptAlive.push(type, api[name]);
  }
  return api as OrtApi;
}

function bindRuntimeLibrary(): Pick<OrtLibrary, 'memcpy' | 'trim'> {
  const library = process.platform === 'win32' ? koffi.load('ucrtbase.dll') : koffi.load(null);
  const memcpy: OrtLibrary['memcpy'] = library.func('memcpy', 'void', ['uintptr_t', 'uintptr_t', 'uintptr_t']);
  let mallocTrim: ((keepBytes: number) => number) | undefined;
  try {
    mallocTrim = library.func('malloc_trim', 'int', ['uintptr_t']);
  } catch {
    // Only glibc has it, and only glibc needs it.
  }
  keptAlive.push(library, memcpy, mallocTrim);
  const trimWith = mallocTrim;
  return { memcpy, trim: trimWith === undefined ? null : () => void trimWith(0) };
}

/** What a status says. Releases it. */
export function takeStatus(api: OrtApi, status: number): { code: number; message: string } {
  const code = api.GetErrorCode(status);
  const message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  return { code, message };
}

/** Throws INTERNAL, in ONNX Runtime's words, unless the status is 0. */
export function check(api: OrtApi, status: number): void {
  if (status === 0) return;
  const { message } = takeStatus(api, status);
  throw new InferenceError('INTERNAL', `ONNX Runtime: ${readableMessage(message)}`, {
    cause: new Error(message),
    failureReason: 'BACKEND',
  });
}

const MAX_MESSAGE = 600;
/** `/onnxruntime_src/.../file.cc:123 Signature(...) const ` in front of what the reader wants to know. */
const sourcePlace = /\S*\.(?:cc|cpp|h|hpp):\d+:?\s*(?:[\w:~<>,&*\s-]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])?\s?)?/g;

/** An ONNX Runtime message as a client may read it: without paths of the build or of this machine, in one line. */
export function readableMessage(message: string, modelPath?: string): string {
  let text = message;
  if (modelPath !== undefined) {
    text = text.replaceAll(modelPath, 'the model file').replaceAll(dirname(modelPath), 'the model directory');
  }
  text = text.replaceAll(sourcePlace, '').replaceAll(/\s+/g, ' ').trim();
  return text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE)}...` : text;
}
