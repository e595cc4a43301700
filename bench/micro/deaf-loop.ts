import type { Lane, LaneFactory, LaneSink } from '../load/lane.ts';
import type { Outcome } from '../load/load-window.ts';
import type { LoadSocket, SocketHandler, SocketLoop } from '../load/socket-loop.ts';

/** Sockets that take whatever is written and never say anything: what lanes cost without them. */
export interface DeafLoop extends SocketLoop {
  /** Of the last connection. */
  handler: SocketHandler | null;
}

export function deafLoop(): DeafLoop {
  const socket: LoadSocket = { queuedBytes: 0, write: () => {}, writeTwo: () => {}, close: () => {} };
  const loop: DeafLoop = {
    kind: 'node',
    handler: null,
    now: () => performance.now(),
    connect: (_target, handler) => {
      loop.handler = handler;
      return Promise.resolve(socket);
    },
    run: () => Promise.resolve(),
    waitedMs: () => 0,
    close: () => {},
  };
  return loop;
}

export class SilentSink implements LaneSink {
  ok = 0;
  tokens = 0;

  part(_slot: number, tokens: number): void {
    this.tokens += tokens;
  }

  ended(_slot: number, outcome: Outcome, status: string, message: string): void {
    if (outcome !== 'ok') throw new Error(`${status}: ${message}`);
    this.ok++;
  }

  closed(_lane: Lane, reason: string): void {
    throw new Error(reason);
  }

  sentBytes(): void {}
  receivedBytes(): void {}
}

/** A lane, and who is to be given the bytes of its answers. */
export async function openLane(factory: LaneFactory, loop: DeafLoop, sink: LaneSink): Promise<{ lane: Lane; handler: SocketHandler }> {
  const lane = await factory.open(loop, sink);
  return { lane, handler: loop.handler! };
}
