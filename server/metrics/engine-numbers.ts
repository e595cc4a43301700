/** Of an engine that generates text: what its instance says of itself, by the names of the backend contract. */
export const ENGINE_COUNTERS: readonly EngineCounter[] = ['promptTokens', 'cachedPromptTokens', 'generatedTokens', 'steps'];
export const ENGINE_GAUGES: readonly EngineGauge[] = ['runningSequences', 'kvTokensUsed', 'kvTokensTotal'];

export type EngineCounter = 'promptTokens' | 'cachedPromptTokens' | 'generatedTokens' | 'steps';
export type EngineGauge = 'runningSequences' | 'kvTokensUsed' | 'kvTokensTotal';

/** Of all instances of a model version: counters over all that there ever were, gauges over those that are alive. */
export class EngineNumbers implements Record<EngineCounter | EngineGauge, number> {
  /** Whether an instance has said anything yet. */
  isTold = false;
  promptTokens = 0;
  cachedPromptTokens = 0;
  generatedTokens = 0;
  steps = 0;
  runningSequences = 0;
  kvTokensUsed = 0;
  kvTokensTotal = 0;
}

/** Of one instance: what it said last, and its share in the sum, which it enters when it is put into service. */
export class InstanceNumbers {
  readonly #last: EngineNumbers = new EngineNumbers();
  #sum: EngineNumbers | null = null;
  #isGone = false;

  /** `told` comes from a host: anything. False when it says what cannot be; what is left out stays as it was. */
  take(told: Readonly<Record<string, unknown>>): boolean {
    if (this.#isGone) return true;
    for (const name of ENGINE_COUNTERS) if (!mayBe(told[name])) return false;
    for (const name of ENGINE_GAUGES) if (!mayBe(told[name])) return false;
    const last = this.#last;
    last.isTold = true;
    for (const name of ENGINE_COUNTERS) {
      const value = told[name] as number | undefined;
      // A counter that falls would show as one that starts anew.
      if (value === undefined || value <= last[name]) continue;
      if (this.#sum !== null) this.#sum[name] += value - last[name];
      last[name] = value;
    }
    for (const name of ENGINE_GAUGES) {
      const value = told[name] as number | undefined;
      if (value === undefined) continue;
      if (this.#sum !== null) this.#sum[name] += value - last[name];
      last[name] = value;
    }
    if (this.#sum !== null) this.#sum.isTold = true;
    return true;
  }

  join(sum: EngineNumbers): void {
    if (this.#sum !== null || this.#isGone) return;
    this.#sum = sum;
    const last = this.#last;
    if (last.isTold) sum.isTold = true;
    for (const name of ENGINE_COUNTERS) sum[name] += last[name];
    for (const name of ENGINE_GAUGES) sum[name] += last[name];
  }

  /** The instance has ended: what it counted stays. */
  leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    const sum = this.#sum;
    if (sum !== null) for (const name of ENGINE_GAUGES) sum[name] -= this.#last[name];
  }
}

/** Left out, or a count. */
function mayBe(value: unknown): boolean {
  return value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0);
}
