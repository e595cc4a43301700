import type { InferenceDoor } from '../data-plane/infer.ts';
import type { ModelRepository } from '../repository/model-repository.ts';

/** The doors that a protocol may knock on. */
export interface ProtocolContext {
  /** Inference: the only way to a model. */
  readonly door: InferenceDoor;
  /** Control: index, metadata, configuration, statistics. */
  readonly repository: ModelRepository;
  readonly serverName: string;
  readonly serverVersion: string;
  /** Initialised, and every model READY or rightly unloaded (`--strict-readiness`). */
  isReady(): boolean;
  /** Not on its way out. */
  isLive(): boolean;
  /** Logs an error that is the server's or the model's; does nothing for a client's mistake. */
  reportFault(error: unknown): void;
}
