import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { Lane } from './closed-loop.ts';

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH } = constants;
/** As grpc clients in other languages have them, or larger: the client's windows must not be what is measured. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** One HTTP/2 connection, driven without a gRPC library: the cheapest client that checks its answers. */
export class GrpcConnection {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  static async open(port: number): Promise<GrpcConnection> {
    const session = connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: WINDOW_BYTES } });
    await new Promise<void>((resolve, reject) => {
      session.once('remoteSettings', () => resolve());
      session.once('error', reject);
    });
    session.setLocalWindowSize(WINDOW_BYTES * 4);
    return new GrpcConnection(session);
  }

  /** A place for one unary call at a time. */
  unaryLane(path: string, message: Uint8Array): Lane {
    const framed = frame(message);
    return {
      send: (answered) => {
        const stream = this.#open(path);
        let bytes = 0;
        let status = '';
        stream.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        stream.on('trailers', (trailers) => {
          status = String(trailers['grpc-status']);
        });
        stream.once('error', answered);
        stream.once('end', () => answered(status === '0' && bytes > 5 ? null : new Error(`gRPC status ${status}, ${bytes} bytes`)));
        stream.end(framed);
      },
    };
  }

  /** One unary call; `answered` is called once, with the bytes of all messages that came, each behind its five of framing. */
  call(path: string, message: Uint8Array, answered: (error: Error | null, body: Buffer) => void): void {
    const stream = this.#open(path);
    const chunks: Buffer[] = [];
    let status: string | null = null;
    let detail = '';
    let failure: Error | null = null;
    const note = (headers: Record<string, unknown>): void => {
      if (headers['grpc-status'] === undefined) return;
      status = String(headers['grpc-status']);
      detail = String(headers['grpc-message'] ?? '');
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('error', (error) => {
      failure = error;
    });
    stream.once('close', () => {
      if (failure === null && status !== '0') failure = new Error(`gRPC status ${status}: ${detail}`);
      answered(failure, Buffer.concat(chunks));
    });
    stream.end(frame(message));
  }

  get isClosed(): boolean {
    return this.#session.closed || this.#session.destroyed;
  }

  close(): void {
    this.#session.destroy();
  }

  #open(path: string): ClientHttp2Stream {
    return this.#session.request({
      [HTTP2_HEADER_METHOD]: 'POST',
      [HTTP2_HEADER_PATH]: path,
      te: 'trailers',
      'content-type': 'application/grpc',
    });
  }
}

/** A gRPC message on the wire: not compressed, its length, its bytes. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(5 + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}
