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
    const isLoaded = await withServer(values.url, async (client) => {
      const index = await client.repositoryIndex();
      await client.unloadModel(model, { unloadDependents: values['unload-dependents'] === true });
      return index.some(({ name, state }) => name === model && (state === 'READY' || state === 'LOADING'));
    });
    // No error, as in the protocol: it is as it was asked to be. But the name may be misspelt.
    process.stdout.write(isLoaded ? `unloaded ${model}\n` : `${model} was not loaded: nothing to unload (nereid models tells what is)\n`);
    return EXIT_OK;
  });
}
