/** `failed`: this is no call, and nothing of it was told; `done`: the closing brace has come. */
export type CallProgress = 'more' | 'done' | 'failed';

/** Characters of a call before its name and its arguments are both known. */
const MAX_BEFORE = 16_384;
const MAX_NAME = 256;
const SPACE = /\s/;

type State = 'key-or-end' | 'key' | 'colon' | 'value' | 'name' | 'skip' | 'scalar' | 'text' | 'raw' | 'comma-or-end' | 'rest';

/** Reads `{"name": ..., "arguments" or "parameters": {...}}` character by character; the opening brace has been read. Arguments as a string of JSON are taken out of it. */
export class CallObjectReader {
  readonly #isCall: (name: string) => boolean;
  #state: State = 'key-or-end';
  #key = '';
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** What is collected of a key, a name, or an escape. */
  #part = '';
  #name: string | null = null;
  #arguments = '';
  #hasArguments = false;
  #length = 0;

  constructor(isCall: (name: string) => boolean) {
    this.#isCall = isCall;
  }

  /** Null until the arguments have begun too. */
  get name(): string | null {
    return this.#hasArguments ? this.#name : null;
  }

  /** Text of the arguments since the last time; nothing before `name` is known. */
  takeArguments(): string {
    if (this.name === null) return '';
    const taken = this.#arguments;
    this.#arguments = '';
    return taken;
  }

  feed(character: string): CallProgress {
    if (this.name === null && ++this.#length > MAX_BEFORE) return 'failed';
    switch (this.#state) {
      case 'key-or-end':
        if (SPACE.test(character)) return 'more';
        if (character === '}') return this.#end();
        if (character !== '"') return this.#broken();
        this.#part = '';
        return this.#to('key');
      case 'key':
        if (character === '"') {
          this.#key = this.#part;
          return this.#to('colon');
        }
        if (character === '\\' || this.#part.length > MAX_NAME) return this.#broken();
        this.#part += character;
        return 'more';
      case 'colon':
        if (SPACE.test(character)) return 'more';
        return character === ':' ? this.#to('value') : this.#broken();
      case 'value':
        return SPACE.test(character) ? 'more' : this.#beginValue(character);
      case 'name':
        return this.#feedName(character);
      case 'raw':
        this.#arguments += character;
        return this.#nested(character);
      case 'skip':
        return this.#nested(character);
      case 'scalar':
        if (character === ',') return this.#to('key-or-end');
        if (character === '}') return this.#end();
        return '"{[]:'.includes(character) ? this.#broken() : 'more';
      case 'text':
        return this.#feedText(character);
      case 'comma-or-end':
        if (SPACE.test(character)) return 'more';
        if (character === ',') return this.#to('key-or-end');
        return character === '}' ? this.#end() : this.#broken();
      default:
        return character === '}' ? 'done' : 'more';
    }
  }

  #to(state: State): CallProgress {
    this.#state = state;
    return 'more';
  }

  /** A call that has been told of stays one; the rest of it is passed over. */
  #broken(): CallProgress {
    return this.name === null ? 'failed' : this.#to('rest');
  }

  #end(): CallProgress {
    if (this.#name === null) return 'failed';
    if (!this.#hasArguments) {
      this.#hasArguments = true;
      this.#arguments = '{}';
    }
    return 'done';
  }

  #beginValue(character: string): CallProgress {
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
    if (this.#key === 'name' && this.#name === null) {
      if (character !== '"') return this.#broken();
      this.#part = '"';
      return this.#to('name');
    }
    if ((this.#key === 'arguments' || this.#key === 'parameters') && !this.#hasArguments) {
      if (character === '{') {
        this.#hasArguments = true;
        this.#arguments = '{';
        this.#depth = 1;
        return this.#to('raw');
      }
      if (character === '"') {
        this.#hasArguments = true;
        this.#part = '';
        return this.#to('text');
      }
      // null: no arguments.
      return character === 'n' ? this.#to('scalar') : this.#broken();
    }
    if (character === '{' || character === '[' || character === '"') {
      this.#state = 'skip';
      return this.#nested(character);
    }
    return /[-0-9tfn]/.test(character) ? this.#to('scalar') : this.#broken();
  }

  /** Inside a string, an object or an array: where it ends. */
  #nested(character: string): CallProgress {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (character === '\\') this.#escaped = true;
      else if (character === '"') this.#inString = false;
    } else if (character === '"') this.#inString = true;
    else if (character === '{' || character === '[') this.#depth++;
    else if (character === '}' || character === ']') this.#depth--;
    return this.#depth === 0 && !this.#inString ? this.#to('comma-or-end') : 'more';
  }

  #feedName(character: string): CallProgress {
    this.#part += character;
    if (this.#part.length > MAX_NAME) return this.#broken();
    if (this.#escaped) {
      this.#escaped = false;
      return 'more';
    }
    if (character === '\\') this.#escaped = true;
    if (character !== '"') return 'more';
    let name: unknown;
    try {
      name = JSON.parse(this.#part);
    } catch {
      return 'failed';
    }
    if (typeof name !== 'string' || !this.#isCall(name)) return 'failed';
    this.#name = name;
    return this.#to('comma-or-end');
  }

  /** Arguments as a string: its escapes are undone. */
  #feedText(character: string): CallProgress {
    if (this.#part !== '') {
      this.#part += character;
      if (this.#part.length < (this.#part[1] === 'u' ? 6 : 2)) return 'more';
      try {
        this.#arguments += JSON.parse(`"${this.#part}"`) as string;
      } catch {
        this.#arguments += this.#part;
      }
      this.#part = '';
      return 'more';
    }
    if (character === '"') return this.#to('comma-or-end');
    if (character === '\\') this.#part = character;
    else this.#arguments += character;
    return 'more';
  }
}
