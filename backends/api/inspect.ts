import type { FileHandle } from 'node:fs/promises';
import type { ModelConfig } from './model-config.ts';

/** What a model file says of itself, read with bounds and without the backend's native code. */
export interface ModelFileInspection {
  /** Why the file ends before what it declares, or holds what is no field (zeros of space that was set aside): a phrase that follows the file's name. Null: neither. */
  readonly isTruncated: string | null;
  /** Files that hold weights, each location once. As the file has them: nothing is checked. */
  readonly externalFiles: readonly ExternalFile[];
  /** Why parts of the file were not looked at, so that externalFiles may lack some: a phrase that follows the file's name. Null: all was seen. */
  readonly notSeen: string | null;
  /** Why the backend is not to open it: a phrase that follows the file's name. Left out: nothing was found, and the backend tells the rest. */
  readonly fault?: string;
}

export interface ExternalFile {
  /** Relative to the model file's directory, if the file is honest. */
  readonly location: string;
  /** Bytes that it must have; 0: unknown. */
  readonly byteLength: number;
}

/** A file that a configuration names, in the backend's own parameters. */
export interface NamedFile {
  /** What names it, for messages. */
  readonly field: string;
  /** Relative to the model file's directory, if the configuration is honest. */
  readonly location: string;
}

/**
 * What `backends/<name>/inspect.ts` exports, where a backend has one. It runs in the gateway, so it imports no native code, never keeps the loop for long, and takes any
 * content: whatever the bytes are, it resolves. Rejects with the file system's error only. `byteLength` is the file's size when it was opened.
 */
export interface InspectModule {
  inspectModelFile(file: FileHandle, byteLength: number): Promise<ModelFileInspection>;
  /** The files that the model is made of besides, where a backend has such. Throws INVALID_ARGUMENT for parameters that are wrong. */
  namedFiles?(config: ModelConfig): readonly NamedFile[];
}
