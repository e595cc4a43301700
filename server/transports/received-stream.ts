import type { RawHttpConnection } from './raw-http-connection.ts';

/** All that a connection receives from here on, and the chunks of its first answer. */
export class ReceivedStream {
  #pieces: string[] = [];
  #tail = '';
  #wake: () => void = () => {};

  constructor(client: RawHttpConnection) {
    // Its own parser, which copies what it has for each piece, is not needed.
    client.socket.removeAllListeners('data');
    client.socket.on('data', (chunk: Buffer) => {
      const piece = chunk.toString('latin1');
      this.#pieces.push(piece);
      this.#tail = (this.#tail + piece).slice(-4096);
      this.#wake();
    });
    client.socket.on('close', () => this.#wake());
  }

  get text(): string {
    if (this.#pieces.length > 1) this.#pieces = [this.#pieces.join('')];
    return this.#pieces[0] ?? '';
  }

  /** Of its last 4 KiB. */
  async until(isThere: (tail: string) => boolean): Promise<void> {
    while (!isThere(this.#tail)) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  get head(): string {
    return this.text.slice(0, this.text.indexOf('\r\n\r\n')).toLowerCase();
  }

  /** Its last is '' once the answer is whole. */
  get chunks(): string[] {
    const chunks: string[] = [];
    let at = this.text.indexOf('\r\n\r\n') + 4;
    for (;;) {
      const lineEnd = this.text.indexOf('\r\n', at);
      const size = Number.parseInt(this.text.slice(at, lineEnd), 16);
      if (lineEnd < 0 || this.text.length < lineEnd + 2 + size) return chunks;
      chunks.push(this.text.slice(lineEnd + 2, lineEnd + 2 + size));
      if (size === 0) return chunks;
      at = lineEnd + 2 + size + 2;
    }
  }

  /** One that ends in its first tick may have a length. */
  get body(): string {
    return this.head.includes('\ncontent-length:') ? this.text.slice(this.text.indexOf('\r\n\r\n') + 4) : this.chunks.join('');
  }

  async whole(): Promise<string> {
    await this.until((tail) => {
      const length = /\ncontent-length: (\d+)/.exec(this.head);
      return length === null ? tail.endsWith('0\r\n\r\n') : this.body.length === Number(length[1]);
    });
    return this.body;
  }
}
