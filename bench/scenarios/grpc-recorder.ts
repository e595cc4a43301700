import { type ClientHttp2Session, connect } from 'node:http2';

/** The first answers of a real gRPC server, one for each method, with their five bytes of framing. */
export class GrpcRecorder {
  readonly #answers = new Map<string, Buffer>();
  readonly #port: number;
  #session: ClientHttp2Session | null = null;

  constructor(port: number) {
    this.#port = port;
  }

  answerTo(path: string): Buffer | null {
    return this.#answers.get(path) ?? null;
  }

  /** Throws when it is not a success: a control must not answer with an error. */
  async ask(path: string, framed: Buffer): Promise<Buffer> {
    this.#session ??= connect(`http://127.0.0.1:${this.#port}`);
    const stream = this.#session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    const chunks: Buffer[] = [];
    let status = '';
    const note = (headers: Record<string, unknown>): void => {
      if (headers['grpc-status'] !== undefined) status = `${String(headers['grpc-status'])} ${String(headers['grpc-message'] ?? '')}`;
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.end(framed);
    await new Promise<void>((resolve, reject) => {
      stream.once('close', resolve);
      stream.once('error', reject);
    });
    if (!status.startsWith('0')) throw new Error(`the server that is imitated answered with gRPC status ${status}`);
    const known = this.#answers.get(path) ?? Buffer.concat(chunks);
    this.#answers.set(path, known);
    return known;
  }
}
