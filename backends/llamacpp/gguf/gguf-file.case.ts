/** GGUF files for tests: of a tiny model, changed, or written field by field. */
import { mkdtempSync, rmSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { tinyLlamaModel } from '../../../bench/models/gguf/small-models.ts';
import { type GgufValue, writeGguf } from '../../../bench/models/gguf/write-gguf.ts';
import type { GgufSummary } from './gguf-summary.ts';
import { readGguf } from './read-gguf.ts';

export const folder: string = mkdtempSync(join(tmpdir(), 'nereid-read-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));

export async function withFile<T>(bytes: Uint8Array, use: (file: Awaited<ReturnType<typeof open>>) => Promise<T>): Promise<T> {
  const path = join(folder, 'model.gguf');
  await writeFile(path, bytes);
  const file = await open(path, 'r');
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

export function read(bytes: Uint8Array): Promise<GgufSummary> {
  return withFile(bytes, (file) => readGguf(file, bytes.length));
}

export const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });

/** A tiny model with other metadata; null takes an entry away. */
export function changed(entries: Readonly<Record<string, GgufValue | null>>): Uint8Array {
  const model = tinyLlamaModel();
  const metadata: Record<string, GgufValue> = { ...model.metadata };
  for (const [key, value] of Object.entries(entries)) {
    if (value === null) delete metadata[key];
    else metadata[key] = value;
  }
  return writeGguf({ ...model, metadata });
}

/** Writes a file field by field: what no writer would. */
export class Raw {
  readonly #parts: Buffer[] = [];

  static begin(tensors: number | bigint, entries: number | bigint, version = 3): Raw {
    return new Raw().ascii('GGUF').u32(version).u64(tensors).u64(entries);
  }

  ascii(text: string): this {
    this.#parts.push(Buffer.from(text));
    return this;
  }

  u32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.#parts.push(bytes);
    return this;
  }

  u64(value: number | bigint): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    this.#parts.push(bytes);
    return this;
  }

  text(text: string): this {
    return this.u64(Buffer.byteLength(text)).ascii(text);
  }

  /** The architecture, and one F32 tensor's name with its dimensions. */
  tensor(...dims: (number | bigint)[]): this {
    this.text('general.architecture').u32(8).text('llama').text('w').u32(dims.length);
    for (const dim of dims) this.u64(dim);
    return this;
  }

  bytes(padding = 64): Buffer {
    return Buffer.concat([...this.#parts, Buffer.alloc(padding)]);
  }
}
