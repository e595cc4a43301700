#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { isatty } from 'node:tty';
import { nearestName } from '../proto/nearest-name.ts';
import type { Logger, LogLevel } from './log.ts';
import type { ServerOptions } from './options/index.ts';
import { isModelFileName } from './options/model-file-name.ts';
import { type ParsedOptions, parseServeOptions } from './options/parse-options.ts';
import type { RunningServer } from './server.ts';
import { UsageError } from './usage-error.ts';
import { readVersion } from './version.ts';

const EXIT_FAILED = 1;
/** Something that should not happen did: sysexits' EX_SOFTWARE. */
const EXIT_FAULT = 70;
/** What ends later than the drain limit by this is ended. */
const GRACE_MS = 1_000;
/** npm passes on to its child the signal that the child's process group got as well: two signals for one wish. */
const SAME_SIGNAL_MS = 250;

/** Commands beside `serve`, each loaded when it is called. */
const commands: Readonly<Record<string, () => Promise<(argv: readonly string[]) => Promise<number>>>> = {
  check: async () => (await import('./commands/check-command.ts')).checkCommand,
  convert: async () => (await import('./commands/convert-command.ts')).convertCommand,
  models: async () => (await import('./commands/models-command.ts')).modelsCommand,
  load: async () => (await import('./commands/load-command.ts')).loadCommand,
  unload: async () => (await import('./commands/unload-command.ts')).unloadCommand,
  rollback: async () => (await import('./commands/rollback-command.ts')).rollbackCommand,
  bench: async () => (await import('../bench/command/bench-command.ts')).benchCommand,
  tune: async () => (await import('../bench/tune/tune-command.ts')).tuneCommand,
  client: async () => (await import('../clients/typescript/src/cli/client-command.ts')).clientCommand,
};
const commandNames: readonly string[] = ['serve', ...Object.keys(commands), 'help', 'version'];

const stderr = (text: string): void => void process.stderr.write(text);

await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<void> {
  // A reader that goes away must not end the server; Node ignores SIGPIPE, and this is the rest of it.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const first = argv[0];
  const command = first === undefined || !Object.hasOwn(commands, first) ? undefined : commands[first];
  const wantsHelp = command === undefined && (argv.includes('--help') || argv.includes('-h') || first === 'help');
  if (command !== undefined) {
    process.exitCode = await (await command())(argv.slice(1));
  } else if (wantsHelp || first === undefined) {
    const { serveHelp } = await import('./options/options-help.ts');
    process.stdout.write(serveHelp());
    if (!wantsHelp) process.exitCode = EXIT_FAILED;
  } else if (first === 'version' || argv.includes('--version')) {
    process.stdout.write(`nereid ${readVersion()}\n`);
  } else if (first === 'serve') {
    await serve(argv.slice(1));
  } else if (first.startsWith('-') || isModelFileName(first)) {
    await serve(argv);
  } else if (existsSync(first)) {
    stderr(`nereid: '${first}' is not a command; to serve a directory of models: nereid serve --model-repository ${first}\n`);
    process.exitCode = EXIT_FAILED;
  } else {
    const near = nearestName(first, commandNames);
    stderr(
      `nereid: unknown command '${first}'; ${near === undefined ? `expected one of ${commandNames.join(', ')}` : `did you mean '${near}'?`}\n`,
    );
    process.exitCode = EXIT_FAILED;
  }
}

async function serve(argv: readonly string[]): Promise<void> {
  let parsed: ParsedOptions;
  try {
    parsed = parseServeOptions(argv, process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    stderr(`nereid: ${error.message}\n`);
    process.exitCode = error.exitCode;
    return;
  }
  const { options, warnings } = parsed;
  const log = await openLog(options);
  if (log === null) return;
  const ending = watchSignals(options, log);
  for (const warning of warnings) log.warn(warning);
  try {
    const [{ startServer }, { createStartUpReport }] = await Promise.all([import('./server.ts'), import('./start-up-report.ts')]);
    const progress = createStartUpReport({
      log,
      output: process.stdout,
      isTerminal: isatty(1),
      isTable: options.logFormat !== 'json',
    });
    ending.server = await startServer(options, log, progress);
  } catch (error) {
    // What startServer throws is a line for a person; where it came from matters only to whoever looks closer.
    log.debug({ err: error }, 'where the start failed');
    log.fatal(`the server did not start: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(EXIT_FAILED);
  }
}

async function openLog(options: ServerOptions): Promise<Logger | null> {
  const { createLogger } = await import('./log.ts');
  const muted: LogLevel[] = [];
  if (!options.logInfo) muted.push('info');
  if (!options.logWarning) muted.push('warn');
  if (!options.logError) muted.push('error');
  const verbose: LogLevel = options.logVerbose >= 2 ? 'trace' : 'debug';
  try {
    return createLogger({
      level: options.logVerbose > 0 && options.logLevel !== 'trace' ? verbose : options.logLevel,
      format: options.logFormat === 'json' || options.logFormat === 'pretty' ? options.logFormat : 'auto',
      destination: options.logFile ?? process.stderr.fd,
      mutedLevels: muted,
    });
  } catch (error) {
    stderr(`nereid: --log-file: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = EXIT_FAILED;
    return null;
  }
}

interface Ending {
  /** Null until the server has started: until then a signal ends the process at once, for nothing was accepted. */
  server: RunningServer | null;
}

/** From here on SIGTERM and SIGINT drain, a second one hurries, and what nobody caught ends the process with a line in the log. */
function watchSignals(options: ServerOptions, log: Logger): Ending {
  const ending: Ending = { server: null };
  let firstMs: number | null = null;
  let hurried = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    const nowMs = performance.now();
    if (ending.server === null) {
      log.info({ signal }, 'ended before the start was complete');
      process.exit(0);
    }
    if (firstMs === null) {
      firstMs = nowMs;
      log.info({ signal, limitSecs: options.exitTimeoutSecs }, 'draining: what was accepted is finished, nothing new is taken');
      void drain(ending.server, options, log);
    } else if (!hurried && nowMs - firstMs >= SAME_SIGNAL_MS) {
      hurried = true;
      log.warn({ signal }, 'hurrying: what is not finished is cut off');
      ending.server.hurry();
      // Not unref'd: it is what ends the process when the server cannot.
      setTimeout(() => process.exit(EXIT_FAILED), GRACE_MS);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  process.on('SIGHUP', () => log.info('SIGHUP ignored: options are read at start'));
  const onFault = (error: unknown): void => {
    // The state is not known any more; a supervisor starts a fresh process.
    log.fatal({ err: error }, 'a fault in the server; ending');
    process.exit(EXIT_FAULT);
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
  return ending;
}

async function drain(server: RunningServer, options: ServerOptions, log: Logger): Promise<void> {
  const forced = setTimeout(
    () => {
      log.error('the drain did not end; forced');
      process.exit(EXIT_FAILED);
    },
    options.exitTimeoutSecs * 1000 + GRACE_MS,
  );
  const isComplete = await server.drain();
  clearTimeout(forced);
  if (isComplete) log.info('drained');
  else log.error('requests were cut off');
  process.exit(isComplete ? 0 : EXIT_FAILED);
}
