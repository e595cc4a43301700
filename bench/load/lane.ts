/** What a protocol offers the load generator, and what the generator offers a protocol. Every method here runs once or more per request. */

import type { LoadPlan } from './load-plan.ts';
import type { Outcome } from './load-window.ts';
import type { SocketLoop } from './socket-loop.ts';

/** Where in a sequence a request stands; null where there are none. */
export interface SequenceStamp {
  readonly id: number;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

/** A connection that speaks a protocol. */
export interface Lane {
  /** Requests that it carries at once. */
  readonly capacity: number;
  /** Whether it can still send. */
  readonly isOpen: boolean;
  /**
   * Sends request `index` of the plan. `slot` names it until its end is reported; at most `capacity` are open. `validate`: decode the answer as a whole and look at it. `deadlineMs`:
   * time left, for what the wire carries it in; 0: none.
   */
  send(slot: number, index: number, stamp: SequenceStamp | null, validate: boolean, deadlineMs: number): void;
  /** The caller has lost patience: whatever comes of it is not reported any more. HTTP/1.1 closes its connection. */
  abandon(slot: number): void;
  close(): void;
}

/** Called by lanes while bytes are read. It may send the next request before it returns. */
export interface LaneSink {
  /** A part of a streamed answer has come, with so many tokens. */
  part(slot: number, tokens: number): void;
  /** A request has ended. `status` and `message` are '' when it is ok. */
  ended(slot: number, outcome: Outcome, status: string, message: string): void;
  /** The lane is closed, by the other side or by a fault; every open slot of it was reported as ended before. */
  closed(lane: Lane, reason: string): void;
  /** Bytes on the wire. */
  sentBytes(count: number): void;
  receivedBytes(count: number): void;
}

/** What is needed to open a lane of a protocol; made once for a plan, so that requests are encoded once. */
export interface LaneFactory {
  /** Opens a connection, handshakes done. Rejects with an InferenceError when the server cannot be reached or does not speak the protocol. */
  open(loop: SocketLoop, sink: LaneSink): Promise<Lane>;
}

export type CreateLaneFactory = (plan: LoadPlan) => LaneFactory;
