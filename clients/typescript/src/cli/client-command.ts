import { CLIENT_TYPES_USAGE, clientTypesCommand } from './client-types.ts';

/** `argv`: what follows `nereid client`. Returns the exit status. */
export async function clientCommand(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === 'types') return clientTypesCommand(rest);
  if (name === '--help' || name === '-h') {
    process.stdout.write(CLIENT_TYPES_USAGE);
    return 0;
  }
  const wrong = name === undefined ? 'nereid client needs a command: types' : `unknown command 'client ${name}'; expected client types`;
  process.stderr.write(`nereid: ${wrong}\n\n${CLIENT_TYPES_USAGE}`);
  return 2;
}
