/** What a load request brings with it (reference section 6.6, `config` and `file:`). */
export interface LoadParameters {
  /** A whole configuration in JSON, instead of the one on disk; null: that one. */
  readonly config: string | null;
  /** By path below the model's directory. With any, the directory on disk is ignored. */
  readonly files: ReadonlyMap<string, OverrideFile>;
}

export interface OverrideFile {
  readonly byteLength: number;
  /** Writes the content to a new file, a piece at a time. Rejects with the file system's error, or INVALID_ARGUMENT when the content is not what it claims to be. */
  writeTo(path: string): Promise<void>;
}
