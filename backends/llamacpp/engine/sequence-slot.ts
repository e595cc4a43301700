import type { ActiveGeneration } from './active-generation.ts';

/** One sequence of the context. What it has computed stays when a job ends, for one that begins with the same tokens. Of the step loop alone. */
export class SequenceSlot {
  readonly id: number;
  /** Those that the KV cache holds, then those to compute: `length` and `end` say how many. */
  readonly tokens: Uint32Array;
  length = 0;
  end = 0;
  job: ActiveGeneration | null = null;
  /** Of the job: what must be computed before its first token. */
  promptLength = 0;
  /** A higher one was used later. */
  lastUsed = 0;
  /** Of the step that runs: tokens of this sequence in it, and the place in the batch of its last one. */
  share = 0;
  lastInBatch = 0;
  /** Argument of the native call, which copies it. */
  readonly oneToken: Uint32Array = new Uint32Array(1);

  constructor(id: number, contextSize: number) {
    this.id = id;
    this.tokens = new Uint32Array(contextSize);
  }

  /** How many tokens of `prompt` it begins with. */
  sharedWith(prompt: Uint32Array): number {
    const { tokens } = this;
    const most = Math.min(this.length, prompt.length);
    let shared = 0;
    while (shared < most && tokens[shared] === prompt[shared]) shared++;
    return shared;
  }
}
