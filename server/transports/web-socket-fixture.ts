/** WebSocket routes under test that show what reached them. */

import type { WebSocketConnection, WebSocketListener, WebSocketRoute } from './web-socket.ts';

type Hooks = Partial<Pick<WebSocketListener, 'onText' | 'onBinary' | 'onDrain' | 'onDrainRequested'>>;

/** One connection of a route, as its protocol sees it. */
export class WebSocketProbe implements WebSocketListener {
  readonly connection: WebSocketConnection;
  readonly messages: Uint8Array[] = [];
  drains = 0;
  /** null: not closed. */
  closeCode: number | null = null;
  closes = 0;
  readonly onDrainRequested?: () => void;
  readonly #hooks: Hooks;
  #wake: (() => void)[] = [];

  constructor(connection: WebSocketConnection, hooks: Hooks) {
    this.connection = connection;
    this.#hooks = hooks;
    if (hooks.onDrainRequested !== undefined) this.onDrainRequested = hooks.onDrainRequested;
  }

  onText(message: Uint8Array): void {
    this.messages.push(message);
    this.#notify();
    if (this.#hooks.onText === undefined) this.connection.sendText(message);
    else this.#hooks.onText(message);
  }

  onBinary(message: Uint8Array): void {
    this.messages.push(message);
    this.#notify();
    if (this.#hooks.onBinary === undefined) this.connection.sendBinary(message);
    else this.#hooks.onBinary(message);
  }

  onDrain(): void {
    this.drains += 1;
    this.#notify();
    this.#hooks.onDrain?.();
  }

  onClose(code: number): void {
    this.closes += 1;
    this.closeCode = code;
    this.#notify();
  }

  /** Resolves when `condition` holds; it is looked at whenever something has happened. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  /** Resolves with the code once the listener has heard of the end. */
  async closed(): Promise<number> {
    await this.until(() => this.closeCode !== null);
    return this.closeCode!;
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const resolve of waiting) resolve();
  }
}

/** A route that echoes, where `hooks` says nothing else. */
export class WebSocketRouteProbe implements WebSocketRoute {
  readonly pattern = '/ws';
  readonly maxMessageBytes: number;
  readonly maxUnsentBytes: number;
  readonly idleTimeoutMs: number;
  readonly probes: WebSocketProbe[] = [];
  readonly #hooks: (connection: WebSocketConnection) => Hooks;

  constructor(limits: Partial<WebSocketRoute> = {}, hooks: (connection: WebSocketConnection) => Hooks = () => ({})) {
    this.maxMessageBytes = limits.maxMessageBytes ?? 2 * 1024 * 1024;
    this.maxUnsentBytes = limits.maxUnsentBytes ?? 4 * 1024 * 1024;
    this.idleTimeoutMs = limits.idleTimeoutMs ?? 60_000;
    this.#hooks = hooks;
  }

  open(connection: WebSocketConnection): WebSocketListener {
    const probe = new WebSocketProbe(connection, this.#hooks(connection));
    this.probes.push(probe);
    return probe;
  }
}
