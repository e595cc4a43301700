import type { TlsOptions } from '../transport.ts';

export interface SocketTarget {
  readonly url: string;
  /** Go with the handshake, where the runtime lets them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsOptions | null;
}

export interface SocketEvents {
  onText(text: string): void;
  /** The receiver's to keep. */
  onBinary(bytes: Uint8Array): void;
  /** Fewer bytes wait to be sent than before. */
  onSent(): void;
  /** Once, after it was open. 1006: the connection was lost. */
  onClose(code: number, reason: string): void;
}

/** A WebSocket (RFC 6455) that is open, or was. */
export interface MessageSocket {
  readonly isOpen: boolean;
  readonly unsentBytes: number;
  readonly canPause: boolean;
  sendText(text: string): void;
  /** Copied, or not needed any more, when this returns. */
  sendBinary(bytes: Uint8Array): void;
  /** Asks for `onSent` when fewer than `bytes` wait to be sent. */
  watchDrain(bytes: number): void;
  /** Reads nothing more until `resume`; what was read already is still delivered. */
  pause(): void;
  resume(): void;
  /** Starts the closing handshake. `code`: 1000, or 3000 to 4999; `reason`: at most 123 bytes of UTF-8. */
  close(code: number, reason: string): void;
  /** Ends it without a handshake, where the runtime can. */
  terminate(): void;
}

/** Resolves when the socket is open; rejects with an InferenceError when it can't be opened, and when the signal aborts. */
export type OpenSocket = (target: SocketTarget, events: SocketEvents, signal: AbortSignal) => Promise<MessageSocket>;
