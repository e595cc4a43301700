import { runCommand } from '../../server/commands/run-command.ts';
import { tuneFlags, tuneUsage } from './tune-options.ts';
import { readTuneSettings } from './tune-settings.ts';

/** `argv`: what follows `nereid tune`. Returns the exit status. */
export function tuneCommand(argv: readonly string[]): Promise<number> {
  const given = argv.length === 0 ? ['--help'] : argv;
  return runCommand({ name: 'tune', usage: tuneUsage, options: tuneFlags }, given, async ({ values, positionals }) => {
    const settings = readTuneSettings(values, positionals, process.stdin.isTTY === true);
    const [{ runTune }, { askAtTerminal }] = await Promise.all([import('./run-tune.ts'), import('./write-choice.ts')]);
    const controller = new AbortController();
    // The first one asks for what is known so far; nobody has to wait for it: the second ends the process.
    const onSignal = (): void => controller.abort();
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    try {
      const terminal = {
        stdout: process.stdout,
        stderr: process.stderr,
        write: (text: string) => process.stdout.write(text),
        ask: askAtTerminal,
      };
      return await runTune(settings, argv, terminal, controller.signal);
    } finally {
      process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
    }
  });
}
