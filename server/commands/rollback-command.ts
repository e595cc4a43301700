import { EXIT_OK, onlyArgument, runCommand } from './run-command.ts';
import { urlOption, urlUsage, withServer } from './server-connection.ts';

const usage = `nereid rollback MODEL [--url URL]

Puts the versions of a model back into service that the last change replaced, while the server still keeps them loaded.

${urlUsage}`;

/** `argv`: what follows `nereid rollback`. Returns the exit status. */
export function rollbackCommand(argv: readonly string[]): Promise<number> {
  return runCommand({ name: 'rollback', usage, options: urlOption }, argv, async ({ values, positionals }) => {
    const model = onlyArgument(positionals, 'MODEL');
    const versions = await withServer(values.url, (client) => client.rollbackModel(model));
    process.stdout.write(`rolled back ${model}: version${versions.length === 1 ? '' : 's'} ${versions.join(', ')}\n`);
    return EXIT_OK;
  });
}
