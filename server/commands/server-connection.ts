import { CallError, connect, type InferenceClient } from '../../clients/typescript/src/index.ts';
import { InferenceError } from '../../proto/inference-error.ts';

const DEFAULT_URL = 'http://127.0.0.1:8000';

/** The flag that every command has that talks to a server. */
export const urlOption: { readonly url: { readonly type: 'string'; readonly default: string } } = {
  url: { type: 'string', default: DEFAULT_URL },
};

export const urlUsage: string = `  --url URL        the server, http or https (default ${DEFAULT_URL})\n`;

/** Throws InferenceError; when nobody listens, with what to do about it. */
export async function withServer<T>(url: string, run: (client: InferenceClient) => Promise<T>): Promise<T> {
  // A URL without a scheme is one of a server on this machine or network.
  const client = await connect(/^[a-z]+:\/\//i.test(url) ? url : `http://${url}`, { retry: false });
  try {
    return await run(client);
  } catch (error) {
    if (!(error instanceof CallError) || error.status !== 0) throw error;
    const advice = 'start one with: nereid serve --model-repository DIR, or name another with --url';
    throw new InferenceError(error.code, `no answer from a server at ${url} (${error.message}); ${advice}`, { cause: error });
  } finally {
    await client.close();
  }
}
