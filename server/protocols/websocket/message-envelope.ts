/** @hotpath what a WebSocket message says beside the inference request; one per connection, no string for a name that comes again (measured by web-socket-session.bench.ts) */

import { readText, wrongText } from '../oip-json/field-reader.ts';
import { describeJson, type JsonReader, QUOTE } from '../oip-json/json-reader.ts';
import type { RequestEnvelope } from '../oip-json/request-json.ts';
import { isTimeout, wrongTimeout } from '../request-timeout.ts';

/** What the member `type` may say; a message without it is `infer`. */
export const MESSAGE_TYPES: readonly string[] = ['infer', 'cancel'];

/** What a message said that asks for an inference. */
export interface InferEnvelope {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly timeoutMs: number;
}

export class MessageEnvelope implements RequestEnvelope {
  modelName = '';
  modelVersion = '';
  type = 'infer';
  /** How long the caller waits for the end of the request; Infinity: it does not say. */
  timeoutMs: number = Number.POSITIVE_INFINITY;
  private likelyModel = '';
  private seen = 0;

  /** Before each message. `likelyModel`: the name that it is compared with before a string is made of it. */
  reset(likelyModel: string): void {
    this.modelName = '';
    this.modelVersion = '';
    this.type = 'infer';
    this.timeoutMs = Number.POSITIVE_INFINITY;
    this.likelyModel = likelyModel;
    this.seen = 0;
  }

  /** A message says what an earlier one said. */
  recall({ modelName, modelVersion, timeoutMs }: InferEnvelope): void {
    this.modelName = modelName;
    this.modelVersion = modelVersion;
    this.timeoutMs = timeoutMs;
  }

  get isControl(): boolean {
    return this.type !== 'infer';
  }

  takeMember(reader: JsonReader): boolean {
    if (reader.stringIs('model_name')) {
      this.seen = reader.mark(this.seen, 1);
      this.modelName = this.readModelName(reader);
    } else if (reader.stringIs('model_version')) {
      this.seen = reader.mark(this.seen, 2);
      this.modelVersion = requireText(reader, 'model_version');
    } else if (reader.stringIs('type')) {
      this.seen = reader.mark(this.seen, 4);
      this.type = requireText(reader, 'type');
    } else if (reader.stringIs('timeout_ms')) {
      this.seen = reader.mark(this.seen, 8);
      reader.peek();
      const { at } = reader;
      const ms = reader.readNumber();
      if (ms === undefined || !isTimeout(ms)) throw wrongTimeout("Unable to parse 'timeout_ms'", describeJson(reader.bytes, at));
      this.timeoutMs = ms;
    } else {
      return false;
    }
    return true;
  }

  private readModelName(reader: JsonReader): string {
    if (reader.peek() === QUOTE) {
      const start = reader.at;
      reader.scanString();
      if (reader.stringIs(this.likelyModel)) return this.likelyModel;
      reader.at = start;
    }
    return requireText(reader, 'model_name');
  }
}

function requireText(reader: JsonReader, member: string): string {
  const text = readText(reader);
  if (text === undefined) throw wrongText(reader, member, member);
  return text;
}
