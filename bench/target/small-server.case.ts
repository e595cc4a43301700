import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface SmallServer {
  readonly port: number;
  /** 'GET /v2', ... with the headers of each. */
  readonly seen: { readonly call: string; readonly headers: IncomingMessage['headers'] }[];
  close(): Promise<void>;
}

/** By 'GET /path': the body of an answer with status 200 (JSON, but for text), or status and body. All else is 404, as FastAPI has it. */
export type Answers = Readonly<Record<string, unknown>>;

export class Status {
  readonly status: number;
  readonly body: unknown;

  constructor(status: number, body: unknown) {
    this.status = status;
    this.body = body;
  }
}

/** A real HTTP server with a few fixed answers. */
export async function serveAnswers(
  answers: Answers,
  tls: { readonly key: string; readonly cert: string } | null = null,
): Promise<SmallServer> {
  const seen: SmallServer['seen'] = [];
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const call = `${request.method} ${request.url}`;
    seen.push({ call, headers: request.headers });
    const found = Object.hasOwn(answers, call) ? answers[call] : new Status(404, { detail: 'Not Found' });
    const { status, body } = found instanceof Status ? found : new Status(200, found);
    const isText = typeof body === 'string';
    response.writeHead(status, { 'content-type': isText ? 'text/plain' : 'application/json' }).end(isText ? body : JSON.stringify(body));
  };
  const server: Server = tls === null ? createServer(answer) : createSecureServer(tls, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** What MLServer 1.6 answers of one model: it has neither configurations nor statistics, and its index needs no body. */
export const mlserverAnswers: Answers = {
  'GET /v2': { name: 'mlserver', version: '1.6.1', extensions: [] },
  'GET /v2/models/iris': {
    name: 'iris',
    versions: [],
    platform: '',
    inputs: [{ name: 'predict', datatype: 'FP32', shape: [-1, 4], parameters: { content_type: 'np' } }],
    outputs: [{ name: 'predict', datatype: 'INT64', shape: [-1, 1] }],
  },
  'GET /v2/models/iris/ready': '',
  'GET /v2/models/bare': { name: 'bare', versions: [], platform: '', inputs: [], outputs: [] },
  'GET /v2/models/bare/ready': '',
  'GET /v2/models/guess': new Status(404, { error: 'Model guess not found' }),
  'GET /v2/models/irris': new Status(404, { error: 'Model irris not found' }),
  'POST /v2/repository/index': [
    { name: 'iris', version: null, state: 'READY', reason: '' },
    { name: 'bare', version: null, state: 'READY', reason: '' },
  ],
};
