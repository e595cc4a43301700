import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { connect } from '../index.ts';
import type { ModelConfig } from '../server-facts.ts';
import { renderModelTypes } from './render-model-types.ts';

const DEFAULT_URL = 'http://127.0.0.1:8000';
const TIMEOUT_MS = 30_000;

export const CLIENT_TYPES_USAGE: string = `nereid client types MODEL [--url URL] [--version V] [--out FILE]

Writes the TypeScript type of a model that a server has, for client.model<T>() of @nereid/client.

  --url URL      the server: http, https, grpc, grpcs, ws or wss (default ${DEFAULT_URL})
  --version V    of the model (default: the one that the server's policy says)
  --out FILE     default: standard output
`;

const OPTIONS = {
  url: { type: 'string', default: DEFAULT_URL },
  version: { type: 'string' },
  out: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** `argv`: what follows `nereid client types`. Returns the exit status: 1 when the server or the file fails, 2 for wrong arguments. */
export async function clientTypesCommand(argv: readonly string[]): Promise<number> {
  let parsed: ReturnType<typeof parseCommand>;
  try {
    parsed = parseCommand(argv);
  } catch (error) {
    return fail(2, `${(error as Error).message}\n\n${CLIENT_TYPES_USAGE}`);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    process.stdout.write(CLIENT_TYPES_USAGE);
    return 0;
  }
  const [model] = positionals;
  if (model === undefined || positionals.length > 1) {
    return fail(2, `expected the name of one model, got ${positionals.length}\n\n${CLIENT_TYPES_USAGE}`);
  }
  try {
    const text = await typesOf(model, values.url, values.version);
    if (values.out === undefined) process.stdout.write(text);
    else writeFileSync(values.out, text);
    return 0;
  } catch (error) {
    return fail(1, `${(error as Error).message}\n`);
  }
}

function parseCommand(argv: readonly string[]): ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>> {
  return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
}

async function typesOf(model: string, url: string, version: string | undefined): Promise<string> {
  const client = await connect(url, { timeoutMs: TIMEOUT_MS });
  try {
    const metadata = await client.modelMetadata(model, { version });
    // A server may keep its configurations to itself; then every input counts as needed.
    const config: ModelConfig | null = await client.modelConfig(model, { version }).catch(() => null);
    return renderModelTypes(metadata, config);
  } finally {
    await client.close();
  }
}

function fail(status: number, text: string): number {
  process.stderr.write(`nereid client types: ${text}`);
  return status;
}
