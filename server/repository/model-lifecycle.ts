import type { InferenceError, StatusCode } from '../../proto/inference-error.ts';
import type { Model } from './model.ts';

/** States of a model version, as the repository index shows them (reference section 6.4). */
export type ModelState = 'LOADING' | 'READY' | 'UNLOADING' | 'UNAVAILABLE';

/** The reason of a version that was taken out of service on purpose. */
export const UNLOADED = 'unloaded';

/** A version that is, or was, or failed to be, in service. */
export class ModelVersion {
  readonly modelName: string;
  readonly version: number;
  state: ModelState = 'LOADING';
  /** Why it is UNAVAILABLE; '' otherwise. */
  reason = '';
  /** It failed while the server served: the server is as ready as it was. */
  isRefusedUpdate = false;
  /** As it was before the load that is under way: one beside what serves changes nothing of the server's readiness. */
  #wasWell = true;
  /** Set while READY. */
  model: Model | null = null;

  constructor(modelName: string, version: number) {
    this.modelName = modelName;
    this.version = version;
  }

  /** Again, after it was unavailable. */
  loading(): void {
    this.#wasWell = this.isWell;
    this.state = 'LOADING';
    this.reason = '';
  }

  ready(model: Model): void {
    this.model = model;
    this.state = 'READY';
    this.reason = '';
  }

  /** What was accepted is still finished. */
  unloading(): void {
    this.model = null;
    this.state = 'UNLOADING';
    this.reason = '';
  }

  /** The load that `loading` began has come to nothing: the server is as ready as it was. */
  refused(reason: string): void {
    this.unavailable(reason, this.#wasWell);
  }

  unavailable(reason: string, isRefusedUpdate = false): void {
    this.model = null;
    this.state = 'UNAVAILABLE';
    this.reason = reason;
    this.isRefusedUpdate = isRefusedUpdate;
  }

  /** It failed to serve: not merely out of service. */
  get isFailed(): boolean {
    return this.state === 'UNAVAILABLE' && this.reason !== UNLOADED;
  }

  /** As it should be: in service, on its way, or out of it on purpose. */
  get isWell(): boolean {
    if (this.state === 'LOADING') return this.#wasWell;
    return (
      this.state === 'READY' ||
      this.state === 'UNLOADING' ||
      (this.state === 'UNAVAILABLE' && (this.reason === UNLOADED || this.isRefusedUpdate))
    );
  }
}

/** The names that Triton prints before a load failure's reason. */
const PRINTED_CODES = {
  UNKNOWN: 'Unknown',
  INTERNAL: 'Internal',
  NOT_FOUND: 'Not found',
  INVALID_ARGUMENT: 'Invalid argument',
  UNAVAILABLE: 'Unavailable',
  UNIMPLEMENTED: 'Unsupported',
  ALREADY_EXISTS: 'Already exists',
  CANCELLED: 'Cancelled',
  UNAUTHENTICATED: 'Unauthenticated',
  PERMISSION_DENIED: 'Permission denied',
  RESOURCE_EXHAUSTED: 'Resource exhausted',
  DEADLINE_EXCEEDED: 'Deadline exceeded',
} as const satisfies Record<StatusCode, string>;

/** `Invalid argument: <message>`: the form that the index shows. */
export function failureReason(error: InferenceError): string {
  return `${PRINTED_CODES[error.code]}: ${error.message}`;
}
