import { type ParseArgsConfig, parseArgs } from 'node:util';
import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';

export const EXIT_OK = 0;
/** The command ran, and its answer is no. */
export const EXIT_FAILED = 1;
/** The command line asks for what cannot be. */
export const EXIT_USAGE = 2;

type Options = NonNullable<ParseArgsConfig['options']>;

export interface CommandShape<O extends Options> {
  /** As it is called: `check`. */
  readonly name: string;
  /** What --help prints. */
  readonly usage: string;
  readonly options: O;
}

export type CommandArguments<O extends Options> = ReturnType<typeof parseArgs<{ args: string[]; options: O; allowPositionals: true }>>;

/** A mistake in the command line; the message is one line. */
export class CommandLineError extends Error {}

/** Reads the flags, runs, and turns what is thrown into a line on stderr. Returns the exit status. A fault that is not a person's to mend is thrown on. */
export async function runCommand<const O extends Options>(
  shape: CommandShape<O>,
  argv: readonly string[],
  run: (given: CommandArguments<O>) => Promise<number>,
): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(shape.usage);
    return EXIT_OK;
  }
  try {
    return await run(parse(shape.options, argv));
  } catch (error) {
    const isUsage = error instanceof CommandLineError;
    if (!isUsage && !(error instanceof InferenceError) && !isSystemError(error)) throw error;
    const hint = isUsage ? `\nnereid ${shape.name} --help tells what there is` : '';
    process.stderr.write(`nereid ${shape.name}: ${(error as Error).message}${hint}\n`);
    return isUsage ? EXIT_USAGE : EXIT_FAILED;
  }
}

/** The operating system's refusal, ENOENT and its like; Node's own codes begin with ERR_ and tell of a fault here. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' && !code.startsWith('ERR_');
}

function parse<O extends Options>(options: O, argv: readonly string[]): CommandArguments<O> {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const unknown = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? /'(--?[^']+)'/.exec(message)?.[1] : undefined;
    if (unknown === undefined) throw new CommandLineError(message);
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new CommandLineError(`unknown option ${unknown}${didYouMean(unknown, known) || `; expected ${known.join(', ') || 'none'}`}`);
  }
}

/** The only positional argument. Throws CommandLineError. */
export function onlyArgument(positionals: readonly string[], what: string): string {
  const [only] = positionals;
  if (only === undefined || only === '' || positionals.length > 1)
    throw new CommandLineError(`expected one ${what}, got ${positionals.length}`);
  return only;
}
