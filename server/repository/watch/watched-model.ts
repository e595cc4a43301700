import { createHash } from 'node:crypto';

/** Key of a name that no repository has. */
export const ABSENT: string = '';
/** Between looks at a model that cannot be read: at first, and at most. */
export const MIN_RETRY_MS: number = 1000;
export const MAX_RETRY_MS: number = 60_000;

/** What a watcher knows of one name. */
export interface WatchedModel {
  readonly name: string;
  /**
   * `waiting`, for its timer: before it is looked at. `settling`: between two looks, which an event does not hasten. `retrying`: after a look that failed, which one
   * does.
   */
  state: 'idle' | 'waiting' | 'settling' | 'retrying' | 'queued' | 'looking';
  /** An event came during a look. */
  again: boolean;
  /** Its directories were watched, and no event came since. */
  isReached: boolean;
  timer: NodeJS.Timeout | undefined;
  /** Of the state reported last; null: it is not known yet in which repository it was. */
  homes: readonly string[] | null;
  /** Key of the state reported last, or known to the caller. */
  reported: string;
  /** Whole fingerprint that the caller started with; null: none, or homes are known by now. */
  known: string | null;
  /** What the last look found, when it is not what was reported. */
  candidate: string | null;
  changingSince: number | null;
  saidChanging: boolean;
  /** Said last; '' when a look worked since. */
  problem: string;
  retryMs: number;
}

/** One of which nothing was reported yet. */
export function watchedModel(name: string): WatchedModel {
  return {
    name,
    state: 'idle',
    again: false,
    isReached: false,
    timer: undefined,
    homes: [],
    reported: ABSENT,
    known: null,
    candidate: null,
    changingSince: null,
    saidChanging: false,
    problem: '',
    retryMs: MIN_RETRY_MS,
  };
}

/** Stands for a tree's text, which may be long: trees are compared for equality only. */
export function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
