import { deflateSync, gzipSync } from 'node:zlib';
import type { SeededRandom } from '../../bench/statistics/seeded-random.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../proto/datatype.ts';

/** One POST whose framing is right and whose contents may be anything. */
export interface HostileRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Inputs of a served model, for requests that are right before they are damaged. `dims` has the batch dimension; -1: any size. */
export interface TargetModel {
  readonly name: string;
  readonly inputs: readonly { readonly name: string; readonly datatype: Datatype; readonly dims: readonly number[] }[];
}

/** Numbers that some parser or some multiplication gets wrong; written as JSON, which is not always what JavaScript would write. */
const oddNumbers = [
  '-1',
  '0',
  '-0',
  '1.5',
  '1e308',
  '1e309',
  '-1e400',
  '2147483647',
  '2147483648',
  '4294967295',
  '4294967296',
  '4294967297',
  '9007199254740993',
  '9223372036854775807',
  '9223372036854775808',
  '18446744073709551616',
  '99999999999999999999999999999999',
  '1e-400',
  '01',
  '+1',
  '.5',
  '1.',
  '0x10',
  'NaN',
  'Infinity',
  '-Infinity',
  `1${'0'.repeat(400)}`,
];
const oddTexts = [
  'null',
  'true',
  'false',
  '""',
  '"x"',
  '[]',
  '{}',
  '[[]]',
  '[null]',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"__proto__"',
  '"constructor"',
  '{"__proto__":{"x":1}}',
  '{"toString":1}',
  '\ufeff',
  '/**/',
  '"INT32"',
  '"BYTES"',
  '"FP64"',
  '"BF16"',
  '"bool"',
];

/** Makes damaged requests, the same ones for the same seed. */
export class HostileRequests {
  readonly #random: SeededRandom;
  readonly #models: readonly TargetModel[];

  constructor(random: SeededRandom, models: readonly TargetModel[]) {
    this.#random = random;
    this.#models = models;
  }

  next(): HostileRequest {
    const random = this.#random;
    const model = this.#pick(this.#models);
    const path = random.next() < 0.03 ? '/v2/repository/index' : `/v2/models/${model.name}/infer`;
    const { json, tail } = this.#validRequest(model);
    let text: Buffer = Buffer.from(JSON.stringify(json));
    const headers: Record<string, string> = {};
    let binary: Buffer = tail;
    // Mostly one wound: of two, the first that is found hides the other.
    if (tail.length > 0 && random.next() < 0.3) binary = this.#damageBytes(tail);
    else if (random.next() < 0.5) text = this.#swapValue(text);
    else {
      const rounds = random.next() < 0.7 ? 1 : 3;
      for (let i = 0; i < rounds; i++) text = random.next() < 0.6 ? this.#damageJson(text) : this.#damageBytes(text);
    }
    if (tail.length > 0 || random.next() < 0.1) headers['inference-header-content-length'] = this.#headerLength(text.length);
    let body: Buffer = Buffer.concat([text, binary]);
    if (random.next() < 0.02) body = this.#deep();
    if (random.next() < 0.06) {
      const isGzip = random.next() < 0.5;
      headers['content-encoding'] = isGzip ? 'gzip' : 'deflate';
      body = isGzip ? gzipSync(body) : deflateSync(body);
      if (random.next() < 0.5) body = this.#damageBytes(body);
    }
    return { path, headers, body };
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)]!;
  }

  #validRequest(model: TargetModel): { json: Json; tail: Buffer } {
    const random = this.#random;
    const batch = 1 + random.below(3);
    const open = random.below(4);
    const tails: Uint8Array[] = [];
    const inputs = model.inputs.map(({ name, datatype, dims }) => {
      const shape = dims.map((dim, i) => (dim === -1 ? (i === 0 ? batch : open) : dim));
      const count = shape.reduce((a, b) => a * b, 1);
      if (random.next() < 0.5) {
        const bytes = datatype === 'BYTES' ? encodeBytes(Array(count).fill('é')) : new Uint8Array(count * byteSizeOf(datatype)).fill(1);
        tails.push(bytes);
        return { name, datatype, shape, parameters: { binary_data_size: bytes.length } };
      }
      const value = datatype === 'BYTES' ? 'é' : datatype === 'BOOL' ? true : 7;
      return { name, datatype, shape, data: Array<Json>(count).fill(value) };
    });
    const json: { [key: string]: Json } = { id: 'x', inputs };
    if (random.next() < 0.4) json['outputs'] = [{ name: 'OUTPUT0', parameters: { binary_data: random.next() < 0.5 } }];
    if (random.next() < 0.1) json['outputs'] = [{ name: 'OUTPUT0', parameters: { classification: 1 + random.below(5) } }];
    if (random.next() < 0.4)
      json['parameters'] = { priority: 0, timeout: 1_000_000, binary_data_output: random.next() < 0.5, own: 1.5, sequence_id: 0 };
    return { json, tail: Buffer.concat(tails) };
  }

  #headerLength(right: number): string {
    const random = this.#random;
    if (random.next() < 0.8) return String(right);
    return this.#pick([String(right + 1), String(right - 1), '-1', '0', '1e3', '0x10', '2147483648', '99999999999999999999', `${right},1`]);
  }

  /** Another value for a member or an element, and mostly still JSON. */
  #swapValue(text: Buffer): Buffer {
    const source = text.toString('latin1');
    const values = [...source.matchAll(/(?<=[:[,])("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[\d[\d,]*\])(?=[\]},])/g)];
    if (values.length === 0) return text;
    const value = this.#pick(values);
    const kind = this.#random.below(4);
    const other = kind === 0 ? String(this.#random.below(20)) : kind === 1 ? this.#pick(oddTexts) : this.#pick(oddNumbers);
    const isInList = value[0].startsWith('[') && this.#random.next() < 0.5;
    return Buffer.concat([
      Buffer.from(source.slice(0, value.index), 'latin1'),
      Buffer.from(isInList ? `[${other},${other}]` : other),
      Buffer.from(source.slice(value.index + value[0].length), 'latin1'),
    ]);
  }

  /** Replaces, repeats, removes or wraps one value or member, by what the text looks like: the result need not be JSON. */
  #damageJson(text: Buffer): Buffer {
    const random = this.#random;
    const source = text.toString('latin1');
    const tokens = [...source.matchAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[[\]{}:,]/g)];
    if (tokens.length === 0) return text;
    const token = this.#pick(tokens);
    const at = token.index;
    const end = at + token[0].length;
    const put = (what: string): Buffer => Buffer.from(source.slice(0, at) + what + source.slice(end), 'latin1');
    switch (random.below(8)) {
      case 0:
        return put(this.#pick(oddNumbers));
      case 1:
        return put(Buffer.from(this.#pick(oddTexts)).toString('latin1'));
      case 2:
        return put('');
      case 3:
        return put(`${token[0]},${token[0]}`);
      case 4:
        return put(`[${token[0]}]`);
      case 5: {
        // A member twice.
        const member = this.#pick(['"id":"y"', '"inputs":[]', '"name":"INPUT0"', '"datatype":"FP32"', '"shape":[1]', '"data":[1]']);
        return Buffer.from(source.replace('{', `{${member},`), 'latin1');
      }
      case 6: {
        const other = this.#pick(tokens)[0];
        return put(other);
      }
      default:
        return put(`${token[0]}${this.#pick([' ', '\t', '\u0000', '\u00a0', '\u0085', '}', ']', '"', '\\', ','])}`);
    }
  }

  #damageBytes(bytes: Buffer): Buffer {
    const random = this.#random;
    const copy = Buffer.from(bytes);
    const at = random.below(bytes.length + 1);
    switch (random.below(7)) {
      case 0:
        if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8);
        return copy;
      case 1:
        return copy.subarray(0, at);
      case 2:
        return copy.subarray(at);
      case 3: {
        const from = random.below(bytes.length + 1);
        return Buffer.concat([copy.subarray(0, at), copy.subarray(from, from + random.below(40)), copy.subarray(at)]);
      }
      case 4:
        return Buffer.concat([copy.subarray(0, at), Buffer.from(this.#pick(oddNumbers)), copy.subarray(at)]);
      case 5: {
        const wild = Buffer.from(Array.from({ length: 1 + random.below(6) }, () => random.below(256)));
        return Buffer.concat([copy.subarray(0, at), wild, copy.subarray(at + wild.length)]);
      }
      default:
        // A length prefix of BYTES, or any other four bytes.
        if (copy.length >= 4) copy.writeUInt32LE(this.#pick([0, 1, 3, 0x7fffffff, 0x80000000, 0xffffffff]), random.below(copy.length - 3));
        return copy;
    }
  }

  #deep(): Buffer {
    const depth = this.#pick([50, 101, 1000, 20_000]);
    const open = this.#pick(['[', '{"a":', '[{"a":']);
    const member = this.#pick(['inputs', 'parameters', 'outputs', 'id', 'x']);
    return Buffer.from(`{"${member}":${open.repeat(depth)}`);
  }
}
