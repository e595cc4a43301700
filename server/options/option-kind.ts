/** How an option's text becomes its value. The text comes from a flag, the environment or a file alike. */
export interface OptionKind<T> {
  /** For the help: `--flag PLACEHOLDER`. */
  readonly placeholder: string;
  /** A bare `--flag` means true. */
  readonly isSwitch: boolean;
  /** The flag may be given several times; elsewhere the last one wins. */
  readonly isList: boolean;
  /** `texts` holds at least one text; a kind that is no list looks at the last. Throws an Error that says what was expected and what came. */
  parse(texts: readonly string[]): T;
  /** A value as the help and the documentation show it; '' for none. */
  show(value: T): string;
}

const MAX_SHOWN_LENGTH = 80;

/** The text of a bad value: `expected an integer from 0 to 65535, got '80x'`. */
export function expected(what: string, got: string): Error {
  const shown = got.length > MAX_SHOWN_LENGTH ? `${got.slice(0, MAX_SHOWN_LENGTH)}...` : got;
  return new Error(`expected ${what}, got ${got === '' ? 'nothing' : `'${shown}'`}`);
}

function scalar<T>(placeholder: string, parse: (text: string) => T, show: (value: T) => string): OptionKind<T> {
  return { placeholder, isSwitch: false, isList: false, parse: (texts) => parse(texts.at(-1) ?? ''), show };
}

const switchWords: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['on', true],
  ['1', true],
  ['false', false],
  ['off', false],
  ['0', false],
]);

/** Whether `text` may follow a bare switch as its value: `--allow-metrics false`. */
export function isSwitchWord(text: string): boolean {
  return switchWords.has(text.toLowerCase());
}

export const switchKind: OptionKind<boolean> = {
  ...scalar('true|false', parseSwitch, String),
  isSwitch: true,
};

function parseSwitch(text: string): boolean {
  const value = switchWords.get(text.toLowerCase());
  if (value === undefined) throw expected('true or false (or on, off, 1, 0)', text);
  return value;
}

export function integerKind(placeholder: string, min: number, max: number = Number.MAX_SAFE_INTEGER): OptionKind<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`;
  return scalar(
    placeholder,
    (text) => {
      const value = Number(text);
      if (!/^[+-]?\d+$/.test(text) || value < min || value > max) throw expected(range, text);
      return value;
    },
    String,
  );
}

/** Triton's --log-verbose: a level, or a switch. */
export const verbosityKind: OptionKind<number> = {
  ...scalar(
    'LEVEL',
    (text) => {
      if (isSwitchWord(text)) return parseSwitch(text) ? 1 : 0;
      if (!/^\d{1,6}$/.test(text)) throw expected('a level of 0 or more, or true or false', text);
      return Number(text);
    },
    String,
  ),
  isSwitch: true,
};

const byteUnits: readonly (readonly [string, number])[] = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
];

export function bytesKind(min: number): OptionKind<number> {
  return scalar(
    'BYTES',
    (text) => {
      const match = /^(\d+)([KMG]iB)?$/i.exec(text);
      const unit = byteUnits.find(([name]) => name.toLowerCase() === match?.[2]?.toLowerCase())?.[1] ?? 1;
      const value = match === null ? Number.NaN : Number(match[1]) * unit;
      if (!Number.isSafeInteger(value) || value < min) throw expected(`bytes, at least ${min}, such as 1048576 or 1MiB`, text);
      return value;
    },
    (value) => {
      const unit = value === 0 ? undefined : byteUnits.find(([, bytes]) => value % bytes === 0);
      return unit === undefined ? String(value) : `${value / unit[1]}${unit[0]}`;
    },
  );
}

export function choiceKind<const T extends string>(...choices: readonly T[]): OptionKind<T> {
  return scalar(
    choices.join('|'),
    (text) => {
      const choice = choices.find((name) => name.toLowerCase() === text.toLowerCase());
      if (choice === undefined) throw expected(`one of ${choices.join(', ')}`, text);
      return choice;
    },
    String,
  );
}

export function textKind(placeholder: string): OptionKind<string> {
  return scalar(placeholder, (text) => nonEmpty(placeholder, text), String);
}

/** Null until it is given. */
export function optionalTextKind(placeholder: string): OptionKind<string | null> {
  return scalar<string | null>(
    placeholder,
    (text) => nonEmpty(placeholder, text),
    (value) => value ?? '',
  );
}

function nonEmpty(placeholder: string, text: string): string {
  if (text === '' || text.includes('\0')) throw expected(placeholder, text);
  return text;
}

/** A list: the flag again for each element. `parseAll` sees them all, in order. */
export function listKind<T>(
  placeholder: string,
  parseAll: (texts: readonly string[]) => T,
  show: (value: T) => string = () => '',
): OptionKind<T> {
  return { placeholder, isSwitch: false, isList: true, parse: parseAll, show };
}
