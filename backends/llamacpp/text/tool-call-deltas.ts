import type { ToolCallDelta } from '../chat/tool-call-parser.ts';

/** Pieces of tool calls that no response has had yet; those of one call are put together. */
export class ToolCallDeltas {
  #deltas: ToolCallDelta[] = [];

  get isEmpty(): boolean {
    return this.#deltas.length === 0;
  }

  add(deltas: readonly ToolCallDelta[]): void {
    for (const delta of deltas) {
      const at = this.#deltas.length - 1;
      const last = this.#deltas[at];
      if (last?.index === delta.index) this.#deltas[at] = { ...last, ...delta, arguments: last.arguments + delta.arguments };
      else this.#deltas.push(delta);
    }
  }

  takeJson(): string {
    const json = JSON.stringify(this.#deltas);
    this.#deltas = [];
    return json;
  }
}
