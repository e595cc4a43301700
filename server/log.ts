import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import pino from 'pino';
import { InferenceError } from '../proto/inference-error.ts';
import { LogStream } from './log-stream.ts';

export type Logger = pino.Logger;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** `auto`: pretty where the destination is a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
  /** A file descriptor (2: stderr, so that stdout stays free for what a person asked for) or a file to append to. */
  readonly destination: number | string;
  /** Levels at or above `level` that are left out all the same: Triton's --log-info, --log-warning and --log-error are a switch each. */
  readonly mutedLevels?: readonly LogLevel[];
}

/** Lines are in the log when the call returns, unless its reader does not keep up: see {@link LogStream}. Throws when a log file cannot be opened. */
export function createLogger(options: LoggerOptions): Logger {
  const { destination } = options;
  const stream = new LogStream(destination);
  const isTerminal = typeof destination === 'number' && isatty(destination);
  const isPretty = options.format === 'pretty' || (options.format === 'auto' && isTerminal);
  return pino(pinoOptions(options), isPretty ? new PrettyStream(stream, isTerminal) : stream);
}

function pinoOptions(options: LoggerOptions): pino.LoggerOptions {
  const muted = new Set((options.mutedLevels ?? []).map((level) => pino.levels.values[level]));
  const base: pino.LoggerOptions = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: describeError },
  };
  if (muted.size === 0) return base;
  return {
    ...base,
    hooks: {
      logMethod(args, method, level) {
        if (!muted.has(level)) method.apply(this, args);
      },
    },
  };
}

/** An InferenceError is an answer, not a fault: its stack would say nothing. What caused it may be one. */
function describeError(value: unknown): unknown {
  if (value instanceof InferenceError) {
    const described = { type: value.name, code: value.code, message: value.message };
    return value.cause === undefined ? described : { ...described, cause: describeError(value.cause) };
  }
  return value instanceof Error ? pino.stdSerializers.err(value) : value;
}

/** Turns pino's JSON lines into lines for people. pino-pretty is loaded only where this is used. */
class PrettyStream {
  readonly #stream: LogStream;
  readonly #prettify: (record: unknown) => string | undefined;
  /** On a terminal a line first wipes the progress line that may stand there. */
  readonly #prefix: string;

  constructor(stream: LogStream, isTerminal: boolean) {
    const pretty: typeof import('pino-pretty') = createRequire(import.meta.url)('pino-pretty');
    this.#stream = stream;
    this.#prefix = isTerminal ? '\r\u001b[K' : '';
    this.#prettify = pretty.prettyFactory({
      colorize: isTerminal,
      singleLine: true,
      translateTime: 'SYS:HH:MM:ss.l',
      errorLikeObjectKeys: ['err'],
    });
  }

  write(line: string): void {
    this.#stream.write(this.#prefix + (this.#prettify(visible(JSON.parse(line))) ?? ''));
  }

  flushSync(): void {
    this.#stream.flushSync();
  }
}

// Controls (C0, DEL, C1), line and paragraph separators, and the marks that turn the direction of text.
const unsafeCharacters = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;

/**
 * The value with each character that could end a line, move a cursor or hide text written as an escape: what a client sends cannot forge log lines.
 * The line breaks of a stack stay; pino-pretty indents what follows them.
 */
export function visible(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return key === 'stack' ? value.split('\n').map(visibleText).join('\n') : visibleText(value);
  if (Array.isArray(value)) return value.map((element) => visible(element));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, element]) => [visibleText(name), visible(element, name)]));
}

/** One line of text that a terminal shows as it is. */
export function visibleText(text: string): string {
  return text.replace(unsafeCharacters, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}
