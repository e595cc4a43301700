import type { LogLevel } from '../log.ts';
import type { OptionTable } from './option-declaration.ts';
import { choiceKind, optionalTextKind, switchKind, verbosityKind } from './option-kind.ts';

export interface LogOptions {
  readonly logLevel: LogLevel;
  readonly logFormat: 'auto' | 'json' | 'pretty' | 'default' | 'ISO8601';
  readonly logFile: string | null;
  readonly logVerbose: number;
  readonly logInfo: boolean;
  readonly logWarning: boolean;
  readonly logError: boolean;
}

export const logOptions: OptionTable<LogOptions> = {
  logLevel: {
    flag: 'log-level',
    group: 'Log',
    kind: choiceKind('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    doc: 'Least severe level to log. Each request is a line at debug.',
  },
  logFormat: {
    flag: 'log-format',
    group: 'Log',
    kind: choiceKind('auto', 'json', 'pretty', 'default', 'ISO8601'),
    default: 'auto',
    doc: "auto: for people where the log goes to a terminal, JSON lines elsewhere. tritonserver's default and ISO8601 mean auto.",
  },
  logFile: {
    flag: 'log-file',
    group: 'Log',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'File to append the log to, instead of stderr.',
  },
  logVerbose: {
    flag: 'log-verbose',
    group: 'Log',
    kind: verbosityKind,
    default: 0,
    doc: '1 logs debug lines, 2 and more trace lines; 0 leaves it to --log-level.',
  },
  logInfo: { flag: 'log-info', group: 'Log', kind: switchKind, default: true, doc: 'Log lines of level info.' },
  logWarning: { flag: 'log-warning', group: 'Log', kind: switchKind, default: true, doc: 'Log lines of level warn.' },
  logError: { flag: 'log-error', group: 'Log', kind: switchKind, default: true, doc: 'Log lines of level error.' },
};
