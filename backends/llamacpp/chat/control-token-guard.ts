import { randomBytes } from 'node:crypto';
import type { ChatNative } from './chat-native.ts';

/**
 * Keeps what messages say from becoming control tokens (a user's `<|im_end|>` would end the turn). Before rendering, such texts give way to random words; afterwards the rendered text
 * is cut there, and they are tokenized as plain text. Texts without any are tokenized in one piece, as ever. Around such a word, tokens may be cut differently from a whole text's.
 */
export class ControlTokenGuard {
  readonly #found: RegExp | null;
  readonly #first: string[];

  constructor(controlTokens: readonly string[]) {
    const texts = controlTokens.filter((text) => text !== '').sort((a, b) => b.length - a.length);
    this.#first = [...new Set(texts.map((text) => text[0]!))];
    this.#found =
      texts.length === 0 ? null : new RegExp(texts.map((text) => text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|'), 'g');
  }

  /** For one request. */
  open(): GuardedTexts {
    return new GuardedTexts(this.#found, this.#first);
  }
}

/** The random words of one request: nobody can guess them, and templates leave them as they are. */
export class GuardedTexts {
  readonly #found: RegExp | null;
  readonly #first: readonly string[];
  readonly #nonce = `Q${randomBytes(12).toString('hex')}`;
  readonly #texts: string[] = [];
  readonly #indexes = new Map<string, number>();

  constructor(found: RegExp | null, first: readonly string[]) {
    this.#found = found;
    this.#first = first;
  }

  /** The same value with its strings guarded, keys too; unchanged parts are the same objects. */
  guard<T>(value: T): T {
    return this.#guard(value) as T;
  }

  #guard(value: unknown): unknown {
    if (typeof value === 'string') return this.#guardText(value);
    if (Array.isArray(value)) return value.map((inner) => this.#guard(inner));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [this.#guardText(key), this.#guard(inner)]));
  }

  #guardText(text: string): string {
    if (this.#found === null || !this.#first.some((character) => text.includes(character))) return text;
    return text.replaceAll(this.#found, (control) => {
      let index = this.#indexes.get(control);
      if (index === undefined) {
        index = this.#texts.push(control) - 1;
        this.#indexes.set(control, index);
      }
      return `${this.#nonce}n${index}z`;
    });
  }

  /** What the template printed, as the messages had it. */
  restore(rendered: string): string {
    return this.#texts.length === 0 ? rendered : rendered.replaceAll(this.#word(), (_, index: string) => this.#texts[Number(index)]!);
  }

  tokenize(rendered: string, native: Pick<ChatNative, 'tokenize'>): Uint32Array {
    if (this.#texts.length === 0) return native.tokenize(rendered, true);
    const parts: Uint32Array[] = [];
    let length = 0;
    let at = 0;
    const add = (text: string, parseSpecial: boolean): void => {
      if (text === '') return;
      const tokens = native.tokenize(text, parseSpecial);
      parts.push(tokens);
      length += tokens.length;
    };
    for (const found of rendered.matchAll(this.#word())) {
      add(rendered.slice(at, found.index), true);
      add(this.#texts[Number(found[1])]!, false);
      at = found.index + found[0].length;
    }
    add(rendered.slice(at), true);
    const tokens = new Uint32Array(length);
    let offset = 0;
    for (const part of parts) {
      tokens.set(part, offset);
      offset += part.length;
    }
    return tokens;
  }

  #word(): RegExp {
    return new RegExp(`${this.#nonce}n(\\d+)z`, 'g');
  }
}
