import { invalidArgument } from '../../../proto/inference-error.ts';
import type { AddonGrammarState, AddonModel, LlamaAddon } from '../native/llama-addon.ts';

const MAX_GRAMMARS = 32;

/** Parsed grammars by their text, the last used ones: parsing takes milliseconds, a copy of what came of it microseconds. */
export class GrammarCache {
  readonly #addon: LlamaAddon;
  readonly #model: AddonModel;
  /** At their start; least recently used first. */
  readonly #states: Map<string, AddonGrammarState> = new Map();

  constructor(addon: LlamaAddon, model: AddonModel) {
    this.#addon = addon;
    this.#model = model;
  }

  /** A state of one's own. Throws INVALID_ARGUMENT for what does not parse. */
  start(grammar: string): AddonGrammarState {
    return new this.#addon.AddonGrammarEvaluationState(this.compile(grammar));
  }

  /** A state that stays at its start. */
  compile(grammar: string): AddonGrammarState {
    let state = this.#states.get(grammar);
    if (state === undefined) {
      state = this.#parse(grammar);
      if (this.#states.size === MAX_GRAMMARS) this.#states.delete(this.#states.keys().next().value!);
    } else {
      this.#states.delete(grammar);
    }
    this.#states.set(grammar, state);
    return state;
  }

  #parse(text: string): AddonGrammarState {
    try {
      return new this.#addon.AddonGrammarEvaluationState(this.#model, new this.#addon.AddonGrammar(text));
    } catch (error) {
      const refused = invalidArgument('grammar: expected GBNF with a rule named root, got a text that llama.cpp does not parse');
      refused.cause = error;
      throw refused;
    }
  }

  clear(): void {
    this.#states.clear();
  }
}
