import { EXIT_OK, runCommand } from '../../server/commands/run-command.ts';
import { benchFlags, benchUsage } from './bench-options.ts';
import { readBenchSettings } from './bench-settings.ts';

/** `argv`: what follows `nereid bench`. Returns the exit status. */
export async function benchCommand(argv: readonly string[]): Promise<number> {
  if (argv[0] === 'compare') {
    const { compareCommand } = await import('../compare/compare-command.ts');
    return compareCommand(argv.slice(1));
  }
  if (argv.length === 0) {
    process.stdout.write(benchUsage);
    return EXIT_OK;
  }
  return runCommand({ name: 'bench', usage: benchUsage, options: benchFlags }, argv, async ({ values, positionals }) => {
    const settings = readBenchSettings(values, positionals);
    const { runBench } = await import('./run-bench.ts');
    return runBench(settings, argv);
  });
}
