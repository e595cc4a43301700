/** What a load process and its owner say to each other, by structured clone. */

import type { StatusCode } from '../../proto/inference-error.ts';
import type { LoadPlan, Pace } from './load-plan.ts';
import type { LoadWindow } from './load-window.ts';

export type OwnerMessage =
  /** Once, first. Answered by 'ready' or 'failed'. */
  | { readonly kind: 'plan'; readonly plan: LoadPlan }
  /** Answered by 'started' or 'failed'; then windows come. */
  | { readonly kind: 'start'; readonly pace: Pace; readonly windowMs: number }
  /** Answered by 'stopped' or 'failed'. */
  | { readonly kind: 'stop' };

export type LoadMessage =
  | { readonly kind: 'ready'; readonly sockets: 'native' | 'node' }
  | { readonly kind: 'started' }
  | { readonly kind: 'window'; readonly window: LoadWindow }
  | { readonly kind: 'stopped'; readonly window: LoadWindow }
  /** The last request did not work. */
  | { readonly kind: 'failed'; readonly code: StatusCode; readonly message: string };
