import { randomBytes } from 'node:crypto';
import { CallObjectReader } from './call-object-reader.ts';
import type { ParsedPiece, ToolCallDelta, ToolCallParser } from './tool-call-parser.ts';
import type { ToolSyntax } from './tool-syntax.ts';

/** Whitespace before the first word, and what may stand between a call and its closing mark. */
const MAX_HELD = 256;
const MAX_BEFORE_CLOSING = 80;
const SPACE = /\s/;

type Mode = 'start' | 'text' | 'open' | 'object' | 'close' | 'after' | 'done';

/** Reads character by character, so that borders of pieces mean nothing; holds back at most what one call has before its arguments begin. */
export class StreamingToolCallParser implements ToolCallParser {
  readonly #syntax: ToolSyntax;
  readonly #isCall: (name: string) => boolean;
  readonly #single: boolean;
  #mode: Mode = 'start';
  /** Given out as text, should it become no call. */
  #held = '';
  #matched = 0;
  #reader: CallObjectReader | null = null;
  /** It is a call, for good. */
  #told = false;
  /** Its id and name have been given out. */
  #begun = false;
  #text = '';
  #deltas: ToolCallDelta[] = [];
  #callCount = 0;
  #inArray = false;

  /** `tools`: names that may be called. `single`: what follows the first call is passed over. */
  constructor(syntax: ToolSyntax, tools: ReadonlySet<string>, single: boolean) {
    this.#syntax = syntax;
    // An object without a mark is a call by its name alone; after a mark, a wrong name is the caller's to answer.
    this.#isCall = syntax.isBare ? (name) => tools.has(name) : (name) => name !== '';
    this.#single = single;
  }

  get callCount(): number {
    return this.#callCount;
  }

  get isDone(): boolean {
    return this.#mode === 'done';
  }

  push(piece: string): ParsedPiece {
    if (this.#mode === 'text' && this.#held === '' && !piece.includes(this.#syntax.opening[0]!)) return { text: piece, toolCalls: [] };
    for (const character of piece) this.#feed(character);
    return this.#take();
  }

  finish(): ParsedPiece {
    const { closing } = this.#syntax;
    if (this.#mode === 'close') {
      const rest = this.#held.trim();
      if (rest !== '' && !closing.startsWith(rest)) this.#text += this.#held;
    } else this.#text += this.#held;
    this.#held = '';
    const piece = this.#take();
    this.#mode = 'done';
    return piece;
  }

  #take(): ParsedPiece {
    this.#tell();
    const piece = { text: this.#text, toolCalls: this.#deltas };
    this.#text = '';
    this.#deltas = [];
    return piece;
  }

  /** What the call that is read has told since the last time. */
  #tell(): void {
    const name = this.#reader?.name;
    if (name === undefined || name === null) return;
    const fragment = this.#reader!.takeArguments();
    if (!this.#begun) {
      this.#begun = true;
      this.#deltas.push({ index: this.#callCount++, id: newCallId(this.#syntax), type: 'function', name, arguments: fragment });
    } else if (fragment !== '') this.#deltas.push({ index: this.#callCount - 1, arguments: fragment });
  }

  #feed(character: string): void {
    switch (this.#mode) {
      case 'done':
        return;
      case 'after':
        if (SPACE.test(character)) return;
        this.#mode = 'text';
        this.#feedText(character);
        return;
      case 'start':
        if (SPACE.test(character) && this.#held.length < MAX_HELD) {
          this.#held += character;
          return;
        }
        if (this.#syntax.isBare && character === '{') {
          this.#beginObject(character);
          return;
        }
        this.#mode = 'text';
        this.#feedText(character);
        return;
      case 'text':
        this.#feedText(character);
        return;
      case 'open':
        this.#feedOpen(character);
        return;
      case 'object':
        this.#feedObject(character);
        return;
      default:
        this.#feedClose(character);
    }
  }

  /** Held is the beginning of the mark, after the whitespace of the start. */
  #feedText(character: string): void {
    const { opening } = this.#syntax;
    if (character === opening[this.#matched]) {
      this.#held += character;
      this.#matched++;
      if (this.#matched === opening.length) {
        this.#matched = 0;
        this.#inArray = false;
        this.#mode = 'open';
      }
      return;
    }
    // No mark begins inside itself, but for the first character.
    this.#text += this.#held;
    this.#held = '';
    if (this.#matched > 0) {
      this.#matched = 0;
      this.#feedText(character);
    } else this.#text += character;
  }

  #feedOpen(character: string): void {
    if (SPACE.test(character) && this.#held.length < MAX_HELD * 2) {
      this.#held += character;
    } else if (character === '{') {
      this.#beginObject(character);
    } else if (character === '[' && this.#syntax.isArray && !this.#inArray) {
      this.#inArray = true;
      this.#held += character;
    } else this.#asText(character);
  }

  #beginObject(character: string): void {
    this.#held += character;
    this.#reader = new CallObjectReader(this.#isCall);
    this.#told = false;
    this.#begun = false;
    this.#mode = 'object';
  }

  #feedObject(character: string): void {
    const progress = this.#reader!.feed(character);
    if (progress === 'failed') {
      this.#reader = null;
      this.#asText(character);
      return;
    }
    if (!this.#told) {
      this.#held += character;
      if (this.#reader!.name !== null) {
        this.#told = true;
        this.#held = '';
      }
    }
    if (progress !== 'done') return;
    this.#tell();
    this.#reader = null;
    this.#held = '';
    this.#mode = this.#single ? 'done' : 'close';
  }

  #feedClose(character: string): void {
    const { closing, opening, isArray, isBare } = this.#syntax;
    if (closing !== '') {
      this.#held += character;
      if (this.#held.endsWith(closing)) {
        this.#held = '';
        this.#mode = 'after';
      } else if (this.#held.endsWith(opening)) {
        this.#held = opening;
        this.#mode = 'open';
      } else if (this.#held.length > MAX_BEFORE_CLOSING) {
        this.#text += this.#held;
        this.#held = '';
        this.#mode = 'text';
      }
      return;
    }
    if (SPACE.test(character)) return;
    if (character === ',' && isArray && this.#inArray) this.#mode = 'open';
    else if (character === ']' && isArray) this.#mode = 'after';
    else if (character === ';' && isBare) this.#mode = 'open';
    else {
      this.#mode = 'text';
      this.#feedText(character);
    }
  }

  /** It became no call. */
  #asText(character: string): void {
    this.#text += this.#held;
    this.#held = '';
    this.#mode = 'text';
    this.#feedText(character);
  }
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** Mistral's templates take ids of nine letters or digits alone. */
function newCallId(syntax: ToolSyntax): string {
  const length = syntax.format === 'mistral' ? 9 : 24;
  let id = '';
  for (const byte of randomBytes(length)) id += LETTERS[byte % LETTERS.length];
  return syntax.format === 'mistral' ? id : `call_${id}`;
}
