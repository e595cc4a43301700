/** @hotpath HPACK header blocks. Source: RFC 7541, sections 3 to 6 (measured by grpc-transport.bench.ts) */

import { HeaderTable } from './header-table.ts';
import { HpackFault } from './hpack-fault.ts';
import { decodeHuffman } from './huffman-code.ts';

/** Larger lengths and indices are none that a block within any bound could have. */
const MAX_SHIFT = 21;

export interface FieldSink {
  /** The fields of a block in their order; octets as Latin-1. */
  onField(name: string, value: string): void;
}

/** One direction of a connection: every block must be decoded, in order, wanted or not. */
export class HeaderDecoder {
  readonly #table: HeaderTable;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;
  #to = 0;

  /** `tableBytes`: what this side's SETTINGS_HEADER_TABLE_SIZE allows. */
  constructor(tableBytes: number) {
    this.#table = new HeaderTable(tableBytes);
  }

  /** While it stays the same, a block that is the same byte for byte means the same. */
  get version(): number {
    return this.#table.version;
  }

  /** Throws HpackFault. */
  decode(block: Buffer, from: number, to: number, sink: FieldSink): void {
    this.#block = block;
    this.#at = from;
    this.#to = to;
    const table = this.#table;
    let mayResize = true;
    while (this.#at < to) {
      const byte = block[this.#at]!;
      if (byte >= 0x80) {
        const index = this.#integer(0x7f);
        const name = this.#nameAt(index);
        sink.onField(name, table.valueAt(index));
      } else if (byte >= 0x40) {
        const name = this.#name(0x3f);
        const value = this.#string();
        table.insert(name, value);
        sink.onField(name, value);
      } else if (byte >= 0x20) {
        if (!mayResize) throw new HpackFault('a change of the table size behind a field');
        const size = this.#integer(0x1f);
        if (!table.resize(size)) throw new HpackFault(`a table size of ${size} bytes, more than the settings allow`);
        continue;
      } else {
        const name = this.#name(0x0f);
        sink.onField(name, this.#string());
      }
      mayResize = false;
    }
  }

  #name(mask: number): string {
    const index = this.#integer(mask);
    return index === 0 ? this.#string() : this.#nameAt(index);
  }

  #nameAt(index: number): string {
    const name = this.#table.nameAt(index);
    if (name === '') throw new HpackFault(`a field with index ${index}, which the table does not have`);
    return name;
  }

  #string(): string {
    const isHuffman = this.#at < this.#to && this.#block[this.#at]! >= 0x80;
    const length = this.#integer(0x7f);
    const start = this.#at;
    if (length > this.#to - start) throw cut();
    this.#at = start + length;
    return isHuffman ? decodeHuffman(this.#block, start, this.#at) : this.#block.toString('latin1', start, this.#at);
  }

  /** Section 5.1. `mask`: the bits of the first byte that belong to it. */
  #integer(mask: number): number {
    const block = this.#block;
    if (this.#at >= this.#to) throw cut();
    let value = block[this.#at++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      if (this.#at >= this.#to) throw cut();
      if (shift > MAX_SHIFT) throw new HpackFault('a number of more than 28 bits');
      const byte = block[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
}

function cut(): HpackFault {
  return new HpackFault('a block that ends within a field');
}
