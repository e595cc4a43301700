import type { FileHandle } from 'node:fs/promises';
import type { ExternalFile, ModelFileInspection } from '../api/inspect.ts';
import { FileWindow } from './file-window.ts';

/** Fields looked at; the largest models there are have some hundred thousand nodes of ten to thirty fields. */
export const MAX_FIELDS = 10_000_000;
/** Messages inside each other; protobuf's own readers stop at 100. */
const MAX_DEPTH = 128;
/** Different files with weights; some exporters write one a tensor. */
export const MAX_EXTERNAL_FILES = 10_000;
/** Bytes of a location: the longest path there is. */
const MAX_LOCATION_BYTES = 4096;
/** A tag and a length or value, ten bytes each at most. */
const MAX_HEADER_BYTES = 20;

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const GROUP_START = 3;
const GROUP_END = 4;
const FIXED32 = 5;

/** The messages of an ONNX file that lead to tensors. GROUP: an unknown group, which readers pass over. */
const MODEL = 0;
const GRAPH = 1;
const NODE = 2;
const ATTRIBUTE = 3;
const TENSOR = 4;
const SPARSE_TENSOR = 5;
const FUNCTION = 6;
const TRAINING = 7;
const ENTRY = 8;
const GROUP = 9;

/** By message, by field number: the message that the field holds. Source: the ONNX schema (onnx.proto). */
const CHILDREN: readonly (readonly (number | undefined)[])[] = [
  byField([7, GRAPH], [20, TRAINING], [25, FUNCTION]),
  byField([1, NODE], [5, TENSOR], [15, SPARSE_TENSOR]),
  byField([5, ATTRIBUTE]),
  byField([5, TENSOR], [6, GRAPH], [10, TENSOR], [11, GRAPH], [22, SPARSE_TENSOR], [23, SPARSE_TENSOR]),
  byField([13, ENTRY]),
  byField([1, TENSOR], [2, TENSOR]),
  byField([7, NODE], [11, ATTRIBUTE]),
  byField([1, GRAPH], [2, GRAPH]),
  [],
  [],
];

const GRAPH_FIELD = 7;
const OPSET_FIELD = 8;
const ENTRY_KEY = 1;
const ENTRY_VALUE = 2;

/**
 * Walks an ONNX file (protobuf, `ModelProto`) by the headers of its fields; contents of tensors are stepped over unread. What is malformed inside the graph is left to ONNX
 * Runtime, which refuses the whole file for it. A file that was cut exactly between two of its last fields (metadata, functions) cannot be told from a whole one.
 */
export async function inspectModelFile(file: FileHandle, byteLength: number): Promise<ModelFileInspection> {
  return new OnnxWalk(new FileWindow(file, byteLength), byteLength).run();
}

class OnnxWalk {
  readonly #window: FileWindow;
  readonly #byteLength: number;
  readonly #external: Map<string, number> = new Map();
  /** The messages around the cursor, outermost first, and where each ends. */
  readonly #kinds: number[] = [];
  readonly #ends: number[] = [];
  #at = 0;
  #hasGraph = false;
  #hasOpset = false;
  #notSeen: string | null = null;
  /** Of the tensor at hand: tensors do not lie in one another. */
  #locations: string[] = [];
  #offset = 0;
  #length = 0;
  /** Of the `external_data` entry at hand. */
  #key = '';
  #value = '';
  /** Bytes from the cursor on of the key or value at hand. */
  #textLength = 0;

  constructor(window: FileWindow, byteLength: number) {
    this.#window = window;
    this.#byteLength = byteLength;
  }

  async run(): Promise<ModelFileInspection> {
    let isTruncated = this.#byteLength === 0 ? 'is empty' : await this.#walk();
    if (isTruncated === null && this.#notSeen === null && !(this.#hasGraph && this.#hasOpset)) {
      isTruncated = `ends at byte ${this.#byteLength} without ${this.#hasGraph ? 'its operator set (opset_import)' : 'a graph'}, which every ONNX model has`;
    }
    // A file in ONNX Runtime's own format, which is no protobuf and has its weights inside. Only what does not read as ONNX is taken for one: some bytes are both.
    if (isTruncated !== null && (await this.#isOrtFormat())) return { isTruncated: null, externalFiles: [], notSeen: null };
    const externalFiles: ExternalFile[] = [];
    for (const [location, length] of this.#external) externalFiles.push({ location, byteLength: length });
    return { isTruncated, externalFiles, notSeen: this.#notSeen };
  }

  /** What is wrong with the file as a whole; null: nothing. */
  async #walk(): Promise<string | null> {
    const window = this.#window;
    const kinds = this.#kinds;
    const ends = this.#ends;
    this.#enter(MODEL, this.#byteLength);
    for (let fields = 0; ; ) {
      const top = kinds.length - 1;
      const end = ends[top]!;
      if (this.#at >= end) {
        if (top === 0) return null;
        // A group has an end of its own; without it, the message is cut.
        if (kinds[top] === GROUP) this.#giveUp();
        else this.#leave();
        continue;
      }
      if (++fields > MAX_FIELDS) {
        this.#notSeen = `has more than ${MAX_FIELDS} fields`;
        return null;
      }
      const start = this.#at;
      if (!window.has(start, MAX_HEADER_BYTES) && !(await window.load(start, MAX_HEADER_BYTES))) return this.#shrank();
      const tag = window.varint(start, end);
      const field = Math.floor(tag / 8);
      const wireType = tag % 8;
      // Some readers drop the bits above 32 and go on with what is left.
      if (tag > 0xffff_ffff && top > 0) this.#notSeen ??= `holds a field number of more than 32 bits at byte ${start}`;
      const fault = field === 0 || tag > 0xffff_ffff || Number.isNaN(tag) ? 'tag' : this.#step(field, wireType, end);
      if (fault === null) continue;
      if (fault === 'text') {
        const failed = await this.#takeText(field, end);
        if (failed !== null) return failed;
        continue;
      }
      if (top > 0) {
        this.#giveUp();
        continue;
      }
      return describeFault(fault, tag, start, this.#byteLength, field);
    }
  }

  /** Moves over the field, or into it. Null: done; 'text': its value is wanted; anything else is what is wrong with it. */
  #step(field: number, wireType: number, end: number): 'text' | 'cut' | 'tag' | null {
    const window = this.#window;
    const kind = this.#kinds[this.#kinds.length - 1]!;
    const valueAt = window.next;
    switch (wireType) {
      case VARINT:
        if (Number.isNaN(window.varint(valueAt, end))) return valueAt + 10 > end ? 'cut' : 'tag';
        this.#at = window.next;
        return null;
      case FIXED64:
      case FIXED32: {
        const size = wireType === FIXED64 ? 8 : 4;
        if (size > end - valueAt) return 'cut';
        this.#at = valueAt + size;
        return null;
      }
      case DELIMITED: {
        const length = window.varint(valueAt, end);
        if (!(length <= end - window.next)) return 'cut';
        this.#at = window.next;
        if (kind === MODEL) {
          if (field === GRAPH_FIELD) this.#hasGraph = true;
          else if (field === OPSET_FIELD) this.#hasOpset = true;
        }
        const child = CHILDREN[kind]![field];
        if (child !== undefined) {
          if (this.#isTooDeep()) return 'tag';
          this.#enter(child, this.#at + length);
        } else if (kind === ENTRY && (field === ENTRY_KEY || field === ENTRY_VALUE)) {
          this.#textLength = length;
          return 'text';
        } else {
          this.#at += length;
        }
        return null;
      }
      case GROUP_START:
        // No ONNX file has groups; inside, they are passed over as protobuf's readers do, so that nothing hides behind one.
        if (kind === MODEL || this.#isTooDeep()) return 'tag';
        this.#at = valueAt;
        this.#enter(GROUP, end);
        return null;
      case GROUP_END:
        if (kind !== GROUP) return 'tag';
        this.#at = valueAt;
        this.#leave();
        return null;
      default:
        return 'tag';
    }
  }

  async #takeText(field: number, end: number): Promise<string | null> {
    const length = this.#textLength;
    const start = this.#at;
    this.#at = start + length;
    if (length > MAX_LOCATION_BYTES) {
      // Of a key it is no location; of a value, the file system would refuse it as a path.
      this.#notSeen ??= `has an external_data entry of ${length} bytes, expected at most ${MAX_LOCATION_BYTES}`;
      return null;
    }
    if (!this.#window.has(start, Math.min(length, end - start)) && !(await this.#window.load(start, length))) return this.#shrank();
    const text = this.#window.text(start, length);
    if (field === ENTRY_KEY) this.#key = text;
    else this.#value = text;
    return null;
  }

  #enter(kind: number, end: number): void {
    this.#kinds.push(kind);
    this.#ends.push(end);
    if (kind === TENSOR) {
      if (this.#locations.length > 0) this.#locations = [];
      this.#offset = 0;
      this.#length = 0;
    } else if (kind === ENTRY) {
      this.#key = '';
      this.#value = '';
    }
  }

  #leave(): void {
    const kind = this.#kinds.pop();
    this.#ends.pop();
    if (kind === ENTRY) {
      if (this.#key === 'location') this.#locations.push(this.#value);
      else if (this.#key === 'offset') this.#offset = byteCount(this.#value);
      else if (this.#key === 'length') this.#length = byteCount(this.#value);
    } else if (kind === TENSOR) {
      // Whatever data_location says: readers merge what stands in several pieces, so it may say so elsewhere.
      for (const location of this.#locations) this.#addExternal(location, this.#offset + this.#length);
    }
  }

  #addExternal(location: string, byteLength: number): void {
    const known = this.#external.get(location);
    if (known === undefined && this.#external.size >= MAX_EXTERNAL_FILES) {
      this.#notSeen ??= `has its weights in more than ${MAX_EXTERNAL_FILES} files`;
      return;
    }
    if (known === undefined || known < byteLength) this.#external.set(location, byteLength);
  }

  /** Something inside is malformed: on with the next field of the file. */
  #giveUp(): void {
    this.#at = this.#ends[1]!;
    this.#kinds.length = 1;
    this.#ends.length = 1;
  }

  #isTooDeep(): boolean {
    if (this.#kinds.length < MAX_DEPTH) return false;
    this.#notSeen ??= `holds messages more than ${MAX_DEPTH} deep`;
    return true;
  }

  #shrank(): string {
    return `has become shorter than the ${this.#byteLength} bytes that it had when it was opened`;
  }

  async #isOrtFormat(): Promise<boolean> {
    if (this.#byteLength < 8 || !(await this.#window.load(0, 8))) return false;
    return this.#window.text(4, 4) === 'ORTM';
  }
}

function describeFault(fault: 'cut' | 'tag', tag: number, start: number, byteLength: number, field: number): string {
  if (tag === 0)
    return `holds zeros from byte ${start} on, where its next field should be: space that was set aside and is not written yet`;
  if (fault === 'cut') return `ends at byte ${byteLength} in the middle of a field (${field}, from byte ${start} on)`;
  // A tag that the end of the file cuts, or no tag at all.
  if (Number.isNaN(tag) && start + 10 > byteLength) return `ends at byte ${byteLength} in the middle of a field (from byte ${start} on)`;
  return `holds what is no field of an ONNX model at byte ${start}`;
}

/** Decimal digits; 0: unknown. */
function byteCount(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
}

function byField(...pairs: readonly (readonly [field: number, message: number])[]): readonly (number | undefined)[] {
  const table: (number | undefined)[] = [];
  for (const [field, message] of pairs) table[field] = message;
  return table;
}
