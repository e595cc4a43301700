import { CommandLineError, EXIT_OK, runCommand } from './run-command.ts';
import { urlOption, urlUsage, withServer } from './server-connection.ts';

const usage = `nereid models [--json] [--url URL]

Lists the models of a running server: versions, states, and why one cannot be used.

  --json           the repository index as JSON
${urlUsage}`;

interface Row {
  readonly name: string;
  readonly version: string;
  readonly state: string;
  readonly reason: string;
}

/** `argv`: what follows `nereid models`. Returns the exit status. */
export function modelsCommand(argv: readonly string[]): Promise<number> {
  const options = { json: { type: 'boolean' }, ...urlOption } as const;
  return runCommand({ name: 'models', usage, options }, argv, async ({ values, positionals }) => {
    if (positionals.length > 0) throw new CommandLineError(`expected no argument, got '${positionals[0]}'`);
    const models = await withServer(values.url, (client) => client.repositoryIndex());
    process.stdout.write(values.json ? `${JSON.stringify(models, null, 2)}\n` : table(models));
    return EXIT_OK;
  });
}

function table(rows: readonly Row[]): string {
  if (rows.length === 0) return 'no models\n';
  const lines = [
    ['MODEL', 'VERSION', 'STATE', 'REASON'],
    ...rows.map(({ name, version, state, reason }) => [name, version || '-', state || 'not loaded', reason.replaceAll('\n', ' ')]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) => `${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
    .join('\n')
    .concat('\n');
}
