import type { Lane, LaneFactory, LaneSink, SequenceStamp } from './lane.ts';
import type { LoadPlan, LoadTarget } from './load-plan.ts';
import type { Outcome } from './load-window.ts';
import type { LoadSocket, SocketHandler, SocketLoop } from './socket-loop.ts';

/** The smallest protocol there is: `NUMBER INDEX SEQUENCE-ID START END DEADLINE`, answered by `NUMBER OUTCOME`, or by `NUMBER part` before that. */
export function lineLanes(target: LoadTarget, capacity: number): LaneFactory {
  return { open: (loop, sink) => LineLane.open(loop, sink, target, capacity) };
}

class LineLane implements Lane, SocketHandler {
  readonly capacity: number;
  isOpen = true;
  readonly #sink: LaneSink;
  readonly #slots: Map<number, number> = new Map();
  #socket: LoadSocket | null = null;
  #number = 0;
  #rest = '';

  constructor(sink: LaneSink, capacity: number) {
    this.#sink = sink;
    this.capacity = capacity;
  }

  static async open(loop: SocketLoop, sink: LaneSink, target: LoadTarget, capacity: number): Promise<Lane> {
    const lane = new LineLane(sink, capacity);
    lane.#socket = await loop.connect(target, lane);
    return lane;
  }

  send(slot: number, index: number, stamp: SequenceStamp | null, _validate: boolean, deadlineMs: number): void {
    this.#slots.set(++this.#number, slot);
    if (this.#slots.size > this.capacity) throw new Error('more requests than a lane takes');
    const sequence = stamp === null ? '-' : `${stamp.id} ${Number(stamp.isStart)} ${Number(stamp.isEnd)}`;
    const line = Buffer.from(`${this.#number} ${index} ${sequence} ${deadlineMs}\n`);
    this.#sink.sentBytes(line.length);
    this.#socket!.write(line);
  }

  abandon(slot: number): void {
    for (const [number, of] of this.#slots) if (of === slot) this.#slots.delete(number);
    // As HTTP/1.1 does, which has no other way to take a request back.
    if (this.capacity === 1) this.close();
  }

  close(): void {
    this.isOpen = false;
    this.#socket!.close();
  }

  onBytes(bytes: Buffer, length: number): void {
    this.#sink.receivedBytes(length);
    const lines = (this.#rest + bytes.toString('latin1', 0, length)).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const [number, what] = line.split(' ') as [string, Outcome | 'part'];
      const slot = this.#slots.get(Number(number));
      if (slot === undefined) continue;
      if (what === 'part') this.#sink.part(slot, 1);
      else {
        this.#slots.delete(Number(number));
        this.#sink.ended(slot, what, what === 'ok' ? '' : `line ${what}`, what === 'ok' ? '' : 'the server says so');
      }
    }
  }

  onClose(reason: string): void {
    this.isOpen = false;
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    for (const slot of slots) this.#sink.ended(slot, 'failed', 'connection lost', reason);
    this.#sink.closed(this, reason);
  }
}

export function targetAt(port: number, host = '127.0.0.1'): LoadTarget {
  return { host, port, basePath: '', tls: null, headers: {} };
}

export function linePlan(port: number, changes: Partial<LoadPlan> = {}): LoadPlan {
  return {
    protocol: 'http-json',
    target: targetAt(port),
    requests: [0, 1, 2].map(() => ({ infer: null, text: null, expected: null })),
    connections: 4,
    timeoutMs: 5000,
    deadlineMs: 0,
    sendsDeadline: false,
    sequence: null,
    validation: { every: 0, outputs: [], isDeterministic: false },
    firstTokenMs: 0,
    perTokenMs: 0,
    seed: 7,
    sockets: 'auto',
    ...changes,
  };
}
