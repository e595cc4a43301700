/** Where a model's files are, and what replaces its configuration. */
export interface ModelSource {
  readonly name: string;
  /**
   * `directory`: one of a repository. `file`: a single model file, no repository. `override`: a directory made of the files that a load request brought, which is
   * removed when the model is unloaded.
   */
  readonly kind: 'directory' | 'file' | 'override';
  /** Absolute path of the model's directory, or of the file. */
  readonly path: string;
  /** Absolute path of the repository (or of the folder that holds the file or the override): nothing that is served may lie outside. */
  readonly root: string;
  /** A configuration in JSON that a load request brought; null: the one on disk counts. */
  readonly config: string | null;
}
