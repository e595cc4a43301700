import type { LaneSink, SequenceStamp } from '../../load/lane.ts';
import type { Outcome } from '../../load/load-window.ts';
import type { LoadSocket } from '../../load/socket-loop.ts';
import type { BodyListener, ResponseParser } from './response-parser.ts';

/** What is said over an HTTP connection, one request at a time, and how its answers are judged; one for each lane. */
export interface Conversation {
  /** Takes the bodies of successful answers as they come; null: nobody needs to. */
  readonly listener: BodyListener | null;
  /** Of the last `judge` that was not 'ok': for ErrorCount. */
  readonly status: string;
  readonly message: string;
  /** A request begins. Returns whether its answer's body is to be kept for `judge`. */
  begin(slot: number, index: number, validate: boolean): boolean;
  /** Writes the request that began; returns its bytes. */
  write(socket: LoadSocket, index: number, stamp: SequenceStamp | null): number;
  /** The answer to it has come, with a status of 2xx. */
  judge(parser: ResponseParser): Outcome;
  /** The answer will not come, or nobody waits for it. */
  abort(): void;
}

/** Makes the conversation of a new lane. */
export type StartConversation = (sink: LaneSink) => Conversation;
