/** @hotpath frames that go out whether the client reads or not: SETTINGS, PING, GOAWAY, resets and windows. Source: RFC 9113, section 6 (measured by grpc-transport.bench.ts) */

import type { Socket } from 'node:net';
import {
  ACK,
  FRAME_HEAD_BYTES,
  GOAWAY,
  PING,
  putFrameHead,
  putUint32,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../../../proto/http2-frames.ts';
import type { ConnectionOutput } from './connection-output.ts';

const PING_BYTES = 8;
const SETTING_BYTES = 6;

export class FrameWriter {
  readonly #output: ConnectionOutput;
  readonly #socket: Socket;

  constructor(output: ConnectionOutput, socket: Socket) {
    this.#output = output;
    this.#socket = socket;
  }

  settings(settings: readonly (readonly [id: number, value: number])[]): void {
    let at = this.#frame(SETTINGS, 0, 0, SETTING_BYTES * settings.length);
    const { buffer } = this.#output;
    for (const [id, value] of settings) {
      buffer.writeUInt16BE(id, at);
      buffer.writeUInt32BE(value, at + 2);
      at += SETTING_BYTES;
    }
  }

  settingsAck(): void {
    this.#frame(SETTINGS, ACK, 0, 0);
  }

  ping(): void {
    const at = this.#frame(PING, 0, 0, PING_BYTES);
    this.#output.buffer.fill(0, at, at + PING_BYTES);
  }

  /** `payload`: what the client's ping says, from there on. */
  pingAck(payload: Buffer, from: number): void {
    const at = this.#frame(PING, ACK, 0, PING_BYTES);
    payload.copy(this.#output.buffer, at, from, from + PING_BYTES);
  }

  goAway(lastStreamId: number, code: number, text: string): void {
    const at = this.#frame(GOAWAY, 0, 0, 8 + text.length);
    const { buffer } = this.#output;
    putUint32(buffer, at, lastStreamId);
    putUint32(buffer, at + 4, code);
    buffer.write(text, at + 8, 'latin1');
  }

  reset(streamId: number, code: number): void {
    this.#word(RST_STREAM, streamId, code);
  }

  /** `streamId` 0: of the connection. */
  windowUpdate(streamId: number, bytes: number): void {
    this.#word(WINDOW_UPDATE, streamId, bytes);
  }

  /** A frame whose payload is one number. */
  #word(type: number, streamId: number, value: number): void {
    const at = this.#frame(type, 0, streamId, 4);
    putUint32(this.#output.buffer, at, value);
  }

  /** Gives the place of its payload. */
  #frame(type: number, flags: number, streamId: number, length: number): number {
    const output = this.#output;
    // The client sends and does not read: it would not read a farewell either.
    if (output.isOverrun) this.#socket.destroy();
    output.reserve(FRAME_HEAD_BYTES + length);
    const { at } = output;
    putFrameHead(output.buffer, at, length, type, flags, streamId);
    output.at = at + FRAME_HEAD_BYTES + length;
    return at + FRAME_HEAD_BYTES;
  }
}
