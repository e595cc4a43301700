import { WebSocket } from 'ws';

const ID = Buffer.from('"id":"');
const QUOTE = 0x22;

/** Answers messages of Nereid's WebSocket protocol with the bytes with which a real server answered the first one, and each message's own id. */
export class EmptyWebSocket {
  readonly #upstream: WebSocket;
  /** The real answer, up to its id and from it on; null until there is one. */
  #before: Buffer | null = null;
  #after: Buffer = Buffer.alloc(0);
  #isBinary = false;
  /** Of the JSON without its id, where it is behind its length. */
  #jsonBytes = 0;
  #waiting: (() => void)[] = [];

  private constructor(upstream: WebSocket) {
    this.#upstream = upstream;
    upstream.on('message', (data: Buffer, isBinary) => this.#record(data, isBinary));
  }

  static async connect(port: number): Promise<EmptyWebSocket> {
    const upstream = new WebSocket(`ws://127.0.0.1:${port}/v2/ws`);
    await new Promise<void>((resolve, reject) => {
      upstream.once('open', resolve);
      upstream.once('error', reject);
    });
    return new EmptyWebSocket(upstream);
  }

  /** `send` is called with the answer to `message`: at once, but for the first ones. */
  answer(message: Buffer, isBinary: boolean, send: (answer: Buffer, isBinary: boolean) => void): void {
    const before = this.#before;
    if (before === null) {
      if (this.#waiting.length === 0) this.#upstream.send(Buffer.from(message), { binary: isBinary });
      const kept = Buffer.from(message);
      this.#waiting.push(() => this.answer(kept, isBinary, send));
      return;
    }
    const start = message.indexOf(ID) + ID.length;
    const idBytes = message.indexOf(QUOTE, start) - start;
    const answer = Buffer.allocUnsafe(before.length + idBytes + this.#after.length);
    answer.set(before, 0);
    message.copy(answer, before.length, start, start + idBytes);
    answer.set(this.#after, before.length + idBytes);
    if (this.#isBinary) answer.writeUInt32LE(this.#jsonBytes + idBytes, 0);
    send(answer, this.#isBinary);
  }

  #record(data: Buffer, isBinary: boolean): void {
    if (this.#before !== null) return;
    const start = data.indexOf(ID) + ID.length;
    if (start < ID.length || data.includes('"error"'))
      throw new Error(`the server that is imitated answered ${data.toString('utf8', 0, 300)}`);
    const end = data.indexOf(QUOTE, start);
    this.#isBinary = isBinary;
    this.#jsonBytes = isBinary ? data.readUInt32LE(0) - (end - start) : 0;
    this.#after = Buffer.from(data.subarray(end));
    this.#before = Buffer.from(data.subarray(0, start));
    for (const answerNow of this.#waiting.splice(0)) answerNow();
  }
}
