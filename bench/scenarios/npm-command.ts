import { type ParseArgsConfig, parseArgs } from 'node:util';
import { CommandLineError } from '../../server/commands/run-command.ts';

type Options = NonNullable<ParseArgsConfig['options']>;

/** A command of package.json: flags behind `--`, usage on --help, a mistake of whoever calls it as one line. Sets the exit status. */
export async function npmCommand<const O extends Options>(
  script: string,
  usage: string,
  options: O,
  run: (given: ReturnType<typeof parseArgs<{ args: string[]; options: O; allowPositionals: true }>>) => Promise<number>,
): Promise<void> {
  const args = process.argv.slice(2);
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(usage);
    return;
  }
  try {
    process.exitCode = await run(parseArgs({ args, options, allowPositionals: true }));
  } catch (error) {
    const isMistake = error instanceof CommandLineError || String((error as NodeJS.ErrnoException).code).startsWith('ERR_PARSE_ARGS');
    if (!isMistake) throw error;
    process.stderr.write(`${(error as Error).message}\nnpm run ${script} -- --help tells what there is\n`);
    process.exitCode = 2;
  }
}
