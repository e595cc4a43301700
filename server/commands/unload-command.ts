import { EXIT_OK, onlyArgument, runCommand } from './run-command.ts';
import { urlOption, urlUsage, withServer } from './server-connection.ts';

const usage = `nereid unload MODEL [--unload-dependents] [--url URL]

Takes a model out of service in a running server; requests that it accepted are finished. The server must run with --model-control-mode explicit.

  --unload-dependents   of an ensemble: the models, too, that it alone uses
${urlUsage}`;

/** `argv`: what follows `nereid unload`. Returns the exit status. */
export function unloadCommand(argv: readonly string[]): Promise<number> {
  const options = { 'unload-dependents': { type: 'boolean' }, ...urlOption } as const;
  return runCommand({ name: 'unload', usage, options }, argv, async ({ values, positionals }) => {
    const model = onlyArgument(positionals, 'MODEL');
    await withServer(values.url, (client) => client.unloadModel(model, { unloadDependents: values['unload-dependents'] === true }));
    process.stdout.write(`unloaded ${model}\n`);
    return EXIT_OK;
  });
}
