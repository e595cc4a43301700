/** Where things stand in protobuf text format, so that one can be changed and all else stays as it is written. What the fields mean is not looked at. */

export type PbtxtValue = PbtxtScalar | PbtxtMessage | PbtxtList;

interface Span {
  /** Offsets into the text; `end` is the first that does not belong to it. */
  readonly start: number;
  readonly end: number;
}

export interface PbtxtScalar extends Span {
  readonly kind: 'scalar';
}

/** From brace to brace; the outermost one is the whole text. */
export interface PbtxtMessage extends Span {
  readonly kind: 'message';
  readonly fields: readonly PbtxtField[];
}

export interface PbtxtList extends Span {
  readonly kind: 'list';
  readonly items: readonly PbtxtValue[];
}

export interface PbtxtField extends Span {
  readonly name: string;
  readonly value: PbtxtValue;
}

const MAX_DEPTH = 100;
/** Strings, names with dots, brackets of extensions apart, numbers with signs. */
const TOKEN = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[-+A-Za-z0-9_.]+|[{}<>[\]:,;]/y;
const SPACE = /(?:\s|#[^\n]*)*/y;

/** null: the text has a form that is not known here, and must not be edited. */
export function scanPbtxt(text: string): PbtxtMessage | null {
  const scan = new PbtxtScan(text);
  const fields = scan.fields('', 0);
  return fields === null ? null : { kind: 'message', start: 0, end: text.length, fields };
}

class PbtxtScan {
  readonly #text: string;
  /** Of the token that comes next; `#end` is behind it. */
  #start = 0;
  #end = 0;
  #token = '';

  constructor(text: string) {
    this.#text = text;
    this.#next();
  }

  /** Up to `close`, which is not taken; '': to the end of the text. */
  fields(close: string, depth: number): PbtxtField[] | null {
    const fields: PbtxtField[] = [];
    while (this.#token !== close) {
      const start = this.#start;
      const name = this.#token;
      if (depth > MAX_DEPTH || !/^[A-Za-z_]\w*$/.test(name)) return null;
      this.#next();
      const hasColon = this.#takes(':');
      const value = this.#value(hasColon, depth);
      if (value === null) return null;
      fields.push({ name, start, end: value.end, value });
      if (!this.#takes(',')) this.#takes(';');
    }
    return fields;
  }

  #value(hasColon: boolean, depth: number): PbtxtValue | null {
    const start = this.#start;
    if (this.#token === '{' || this.#token === '<') return this.#message(depth);
    if (this.#token === '[') return this.#list(hasColon, depth);
    if (!hasColon || !/^[-+A-Za-z0-9_."']/.test(this.#token)) return null;
    let end = this.#end;
    const isText = /^["']/.test(this.#token);
    this.#next();
    // Strings one after the other are one.
    while (isText && /^["']/.test(this.#token)) {
      end = this.#end;
      this.#next();
    }
    return { kind: 'scalar', start, end };
  }

  #message(depth: number): PbtxtMessage | null {
    const start = this.#start;
    const close = this.#token === '{' ? '}' : '>';
    this.#next();
    const fields = this.fields(close, depth + 1);
    const end = this.#end;
    return fields !== null && this.#takes(close) ? { kind: 'message', start, end, fields } : null;
  }

  #list(hasColon: boolean, depth: number): PbtxtList | null {
    const start = this.#start;
    const items: PbtxtValue[] = [];
    this.#next();
    while (this.#token !== ']') {
      const item = this.#value(hasColon || this.#token !== '[', depth + 1);
      if (item === null || item.kind === 'list') return null;
      items.push(item);
      if (!this.#takes(',') && this.#token !== ']') return null;
    }
    const end = this.#end;
    this.#next();
    return { kind: 'list', start, end, items };
  }

  #takes(token: string): boolean {
    if (this.#token !== token) return false;
    this.#next();
    return true;
  }

  /** At the end of the text the token is ''; where there is none, one that nothing expects. */
  #next(): void {
    SPACE.lastIndex = this.#end;
    SPACE.exec(this.#text);
    this.#start = SPACE.lastIndex;
    TOKEN.lastIndex = this.#start;
    const found = TOKEN.exec(this.#text);
    this.#token = found?.[0] ?? (this.#start === this.#text.length ? '' : '\0');
    this.#end = this.#start + (found?.[0].length ?? 0);
  }
}
