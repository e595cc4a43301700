import type { LaneSink, SequenceStamp } from '../../load/lane.ts';
import type { SocketLoop } from '../../load/socket-loop.ts';
import { type CallEnd, LOST } from './call-end.ts';
import { ConnectedLane } from './connected-lane.ts';
import type { LanePlan } from './lane-plan.ts';
import { type CallOwner, UnaryCall } from './unary-call.ts';

/** Calls in flight on one connection, where the server allows as many: what other gRPC clients have of their own accord, or more. */
const MAX_CALLS = 64;

/** ModelInfer: a stream for each request. */
export class UnaryLane extends ConnectedLane implements CallOwner {
  readonly plan: LanePlan;
  readonly #loop: SocketLoop;
  /** In flight. */
  readonly #calls: UnaryCall[] = [];
  readonly #idle: UnaryCall[] = [];

  constructor(plan: LanePlan, loop: SocketLoop, sink: LaneSink, firstStreamId?: number) {
    super(plan.headers, sink, firstStreamId);
    this.plan = plan;
    this.#loop = loop;
  }

  get capacity(): number {
    return Math.min(MAX_CALLS, this.connection.peer.maxConcurrentStreams);
  }

  now(): number {
    return this.#loop.now();
  }

  send(slot: number, index: number, stamp: SequenceStamp | null, validate: boolean, deadlineMs: number): void {
    const call = this.#idle.pop() ?? new UnaryCall(this);
    call.begin(slot, index, validate, deadlineMs);
    if (stamp !== null) {
      call.sequenceId = stamp.id;
      call.isSequenceStart = stamp.isStart;
      call.isSequenceEnd = stamp.isEnd;
    }
    const { connection } = this;
    connection.open(call, deadlineMs);
    this.#calls.push(call);
    connection.send(call, call);
    connection.flush();
  }

  abandon(slot: number): void {
    const call = this.#calls.find((one) => one.slot === slot);
    if (call === undefined) return;
    this.#recycle(call, false);
    this.connection.flush();
    this.closeIfDone();
  }

  onCallEnd(call: UnaryCall, { outcome, status, message }: CallEnd, hasAnswerEnded: boolean): void {
    const { slot } = call;
    this.#recycle(call, hasAnswerEnded);
    this.sink.ended(slot, outcome, status, message);
    this.closeIfDone();
  }

  protected override get inFlight(): number {
    return this.#calls.length;
  }

  protected override endAll(reason: string): void {
    for (const { slot } of this.#calls.splice(0)) this.sink.ended(slot, 'failed', LOST, reason);
  }

  #recycle(call: UnaryCall, hasAnswerEnded: boolean): void {
    this.connection.release(call, hasAnswerEnded);
    const last = this.#calls.pop()!;
    if (last !== call) this.#calls[this.#calls.indexOf(call)] = last;
    this.#idle.push(call);
  }
}
