/** @hotpath writes V2 inference requests that were encoded before, with the stamps of their sequences (measured by response-parser.bench.ts) */

import { decodeV2Response } from '../../../clients/typescript/src/decode-v2-response.ts';
import type { SequenceStamp } from '../../load/lane.ts';
import type { Outcome } from '../../load/load-window.ts';
import type { LoadSocket } from '../../load/socket-loop.ts';
import type { AnswerChecker } from '../answer-checker.ts';
import type { Conversation } from './conversation.ts';
import { type EncodedInfer, putStamp } from './infer-request.ts';
import type { ResponseParser } from './response-parser.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const NOTHING: Buffer = Buffer.alloc(0);

/** V2 inference over one connection. */
export class InferConversation implements Conversation {
  readonly listener = null;
  status = '';
  message = '';
  readonly #requests: readonly EncodedInfer[];
  readonly #checker: AnswerChecker;
  #index = 0;
  #validates = false;
  /** What is stamped is this lane's own: others send the same request at the same time. Empty until something is. */
  #copy: Buffer = NOTHING;
  /** As much of it as the last request took. */
  #first: Buffer = NOTHING;

  constructor(requests: readonly EncodedInfer[], checker: AnswerChecker) {
    this.#requests = requests;
    this.#checker = checker;
  }

  begin(_slot: number, index: number, validate: boolean): boolean {
    this.#index = index;
    this.#validates = validate;
    return validate;
  }

  write(socket: LoadSocket, index: number, stamp: SequenceStamp | null): number {
    const { bytes, places } = this.#requests[index]!;
    if (stamp === null || places === null) {
      socket.write(bytes);
      return bytes.length;
    }
    const { cut, rest } = places;
    // A server may answer before it has read all: then the request before lies in the socket's queue yet, and must stay as it is.
    if (cut > this.#copy.length || socket.queuedBytes > 0) {
      this.#copy = Buffer.allocUnsafeSlow(Math.max(cut, this.#copy.length));
      this.#first = NOTHING;
    }
    if (this.#first.length !== cut) this.#first = this.#copy.subarray(0, cut);
    this.#first.set(places.beginning);
    putStamp(this.#first, places, stamp);
    if (rest.length === 0) socket.write(this.#first);
    else socket.writeTwo(this.#first, rest);
    return bytes.length;
  }

  judge(parser: ResponseParser): Outcome {
    if (!this.#validates) return 'ok';
    this.message = this.#wrong(parser);
    this.status = 'wrong answer';
    return this.message === '' ? 'ok' : 'wrong';
  }

  abort(): void {
    this.message = '';
  }

  /** '' when the answer is right. */
  #wrong({ body, isBodyCut, jsonBytes }: ResponseParser): string {
    if (isBodyCut) return `the answer is larger than the ${body.length} bytes that can be looked at`;
    if (jsonBytes > body.length) return `inference-header-content-length is ${jsonBytes}, and the body has ${body.length} bytes`;
    const json = jsonBytes < 0 ? body.length : jsonBytes;
    try {
      const text = utf8.decode(body.subarray(0, json));
      const tail = new Uint8Array(body.buffer, body.byteOffset + json, body.length - json);
      return this.#checker.check(this.#index, decodeV2Response(text, tail).outputs);
    } catch (error) {
      return error instanceof TypeError ? 'the JSON of the answer is not UTF-8' : (error as Error).message;
    }
  }
}
