import type { SequenceSlot } from './sequence-slot.ts';

/** Tokens of a prefix that are worth copying a sequence's memory for. */
const MIN_COPIED = 32;

export interface SlotChoice {
  /** Null: every sequence has a job. */
  slot: SequenceSlot | null;
  /** Tokens of the prompt that it begins with. */
  shared: number;
  /** Another one, that begins with more of it, worth a copy; null: none. */
  source: SequenceSlot | null;
  sourceShared: number;
}

/**
 * Where a prompt goes: to the free sequence that begins with most of it, but not for a few tokens in common at the cost of another's long text: then to one that is empty, or that was
 * not used for longest. Fills `choice`.
 */
export function chooseSlot(slots: readonly SequenceSlot[], prompt: Uint32Array, canCopy: boolean, choice: SlotChoice): void {
  let best: SequenceSlot | null = null;
  let bestShared = 0;
  let empty: SequenceSlot | null = null;
  let oldest: SequenceSlot | null = null;
  let oldestShared = 0;
  choice.source = null;
  choice.sourceShared = 0;
  for (const slot of slots) {
    const shared = slot.sharedWith(prompt);
    if (shared > choice.sourceShared) {
      choice.source = slot;
      choice.sourceShared = shared;
    }
    if (slot.job !== null) continue;
    if (slot.length === 0) {
      // Sequences side by side are computed together: the first ones first.
      empty ??= slot;
      continue;
    }
    // A token that is lost counts half of one that is kept: it may be asked for again.
    const isWorthIt = shared * 3 > slot.length;
    if (isWorthIt && (shared > bestShared || (shared === bestShared && best !== null && slot.lastUsed < best.lastUsed))) {
      best = slot;
      bestShared = shared;
    }
    if (oldest === null || slot.lastUsed < oldest.lastUsed) {
      oldest = slot;
      oldestShared = shared;
    }
  }
  choice.slot = best ?? empty ?? oldest;
  choice.shared = best !== null ? bestShared : empty !== null ? 0 : oldestShared;
  if (!canCopy || choice.source === choice.slot || choice.sourceShared - choice.shared < MIN_COPIED) choice.source = null;
}
