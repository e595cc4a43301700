import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { addExternalWeights, delimited, EXTERNAL_WEIGHTS_BYTES, externalTensor } from '../../bench/models/external-weights.ts';
import { encodeOnnxModel } from '../../bench/models/onnx-model.ts';
import { addSub, endlessLoop, identity, mlp } from '../../bench/models/test-models.ts';
import { modelSpec } from '../api/backend.case.ts';
import type { ModelFileInspection } from '../api/inspect.ts';
import { createBackend } from './index.ts';
import { inspectModelFile, MAX_EXTERNAL_FILES } from './inspect.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-inspect-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;

async function inspect(bytes: Uint8Array): Promise<ModelFileInspection> {
  const path = join(folder, `${files++}.onnx`);
  writeFileSync(path, bytes);
  const file = await open(path);
  try {
    return await inspectModelFile(file, bytes.length);
  } finally {
    await file.close();
    rmSync(path);
  }
}

const whole: ModelFileInspection = { isTruncated: null, externalFiles: [], notSeen: null };

/** Where the fields of the outermost message begin, and the end. */
function boundaries(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    found.push(at);
    const isDelimited = (bytes[at]! & 7) === 2;
    const value = readVarint(bytes, at + 1);
    at = isDelimited ? value.next + value.value : value.next;
  }
  return [...found, bytes.length];
}

function readVarint(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0;
  for (let factor = 1; ; factor *= 128) {
    const byte = bytes[at++]!;
    value += (byte & 127) * factor;
    if (byte < 128) return { value, next: at };
  }
}

describe('a file that is cut', () => {
  const models = { identity: identity('FP32'), addSub: addSub('BYTES'), mlp: mlp(64, 512, 10), loop: endlessLoop('positive') };

  it('finds nothing wrong with whole ones', async () => {
    for (const [name, bytes] of Object.entries(models)) expect(await inspect(bytes), name).toEqual(whole);
  });

  it('sees it at every boundary of the outermost fields', async () => {
    for (const bytes of Object.values(models)) {
      const cuts = boundaries(bytes);
      expect(cuts.length).toBe(5);
      for (const cut of cuts.slice(0, -1)) {
        expect((await inspect(bytes.subarray(0, cut))).isTruncated, `cut at ${cut}`).toMatch(
          cut === 0 ? /^is empty$/ : /^ends at byte \d+ without /,
        );
      }
    }
  });

  it('sees it at any other byte', async () => {
    const { mlp: bytes } = models;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: bytes.length - 1 }), async (cut) => {
        expect((await inspect(bytes.subarray(0, cut))).isTruncated).toMatch(/^ends at byte \d+ (?:without|in the middle of a field)/);
      }),
      { numRuns: 150 },
    );
  });

  it('sees space that was set aside and is not written yet', async () => {
    const { mlp: bytes } = models;
    const graphEnd = boundaries(bytes)[3]!;
    const zeroed = Buffer.alloc(bytes.length);
    for (const written of [0, 2, graphEnd]) {
      zeroed.fill(0);
      zeroed.set(bytes.subarray(0, written));
      expect((await inspect(zeroed)).isTruncated).toBe(
        `holds zeros from byte ${written} on, where its next field should be: space that was set aside and is not written yet`,
      );
    }
    // In the middle of the graph: what follows it is missing.
    zeroed.fill(0);
    zeroed.set(bytes.subarray(0, graphEnd - 1000));
    expect((await inspect(zeroed)).isTruncated).toContain(`holds zeros from byte ${graphEnd} on`);
  });

  it('names what is no model at all', async () => {
    expect((await inspect(Buffer.from('version https://example.com/spec/v1\n'))).isTruncated).toBe(
      'holds what is no field of an ONNX model at byte 0',
    );
  });

  it('leaves the other format of ONNX Runtime alone, unless it is ONNX as well', async () => {
    expect(await inspect(Buffer.concat([Buffer.from([0x20, 0, 0, 0]), Buffer.from('ORTM'), Buffer.alloc(100)]))).toEqual(whole);
    const both = Buffer.concat([Buffer.from([0x12, 6, 0x61, 0x61]), Buffer.from('ORTM'), addExternalWeights({ location: '../out' })]);
    expect((await inspect(both)).externalFiles).toEqual([{ location: '../out', byteLength: 0 }]);
  });
});

describe('weights in other files', () => {
  const tensor = (location: string): Uint8Array => externalTensor('weights', { location });
  const model = (graphField: Uint8Array, ...rest: Uint8Array[]): Uint8Array =>
    Buffer.concat([identity('FP32'), delimited(7, graphField), ...rest]);
  const attribute = (field: number, content: Uint8Array): Uint8Array => delimited(1, delimited(5, delimited(field, content)));

  it('says how many bytes each must have', async () => {
    expect((await inspect(addExternalWeights({ location: 'w.bin', offset: 4096, length: 64 }))).externalFiles).toEqual([
      { location: 'w.bin', byteLength: 4160 },
    ]);
    expect((await inspect(addExternalWeights({ location: 'w.bin', length: 64 }))).externalFiles).toEqual([
      { location: 'w.bin', byteLength: 64 },
    ]);
    expect((await inspect(addExternalWeights({ location: 'w.bin' }))).externalFiles).toEqual([{ location: 'w.bin', byteLength: 0 }]);
    const shared = [0, 64, 128].map((offset) => delimited(5, externalTensor('w', { location: 'w.bin', offset, length: 64 })));
    expect((await inspect(model(Buffer.concat(shared)))).externalFiles).toEqual([{ location: 'w.bin', byteLength: 192 }]);
  });

  it.each<[string, Uint8Array]>([
    ['an initializer', model(delimited(5, tensor('x')))],
    ['values of a sparse initializer', model(delimited(15, delimited(1, tensor('x'))))],
    ['indices of a sparse initializer', model(delimited(15, delimited(2, tensor('x'))))],
    ['an attribute', model(attribute(5, tensor('x')))],
    ['a list in an attribute', model(attribute(10, tensor('x')))],
    ['a sparse tensor in an attribute', model(attribute(22, delimited(1, tensor('x'))))],
    ['a list of sparse tensors in an attribute', model(attribute(23, delimited(2, tensor('x'))))],
    ['a graph in an attribute', model(attribute(6, delimited(5, tensor('x'))))],
    ['a list of graphs in an attribute', model(attribute(11, attribute(6, delimited(5, tensor('x')))))],
    ['a function', model(Buffer.alloc(0), delimited(25, delimited(7, delimited(5, delimited(5, tensor('x'))))))],
    ['an attribute of a function', model(Buffer.alloc(0), delimited(25, delimited(11, delimited(5, tensor('x')))))],
    ['a graph for training', model(Buffer.alloc(0), delimited(20, delimited(1, delimited(5, tensor('x')))))],
    ['a tensor behind an unknown group', model(Buffer.concat([Uint8Array.of(0x83, 0x06, 8, 1, 0x84, 0x06), delimited(5, tensor('x'))]))],
    ['a tensor in two pieces', model(Buffer.concat([attribute(5, Buffer.concat([tensor('x'), Uint8Array.of(14 * 8, 0)]))]))],
  ])('finds them in %s', async (_, bytes) => {
    expect(await inspect(bytes)).toEqual({ ...whole, externalFiles: [{ location: 'x', byteLength: 0 }] });
  });

  it('makes its test models as ONNX Runtime reads them', async () => {
    const backend = await createBackend({ settings: {} });
    const layout = join(folder, 'layout');
    mkdirSync(join(layout, '..data'), { recursive: true });
    writeFileSync(
      join(layout, '..data', 'model.onnx'),
      addExternalWeights({ location: 'w.bin', offset: 0, length: EXTERNAL_WEIGHTS_BYTES }),
    );
    writeFileSync(join(layout, '..data', 'w.bin'), Buffer.alloc(EXTERNAL_WEIGHTS_BYTES));
    // As in a Kubernetes ConfigMap, where weights are found beside the link.
    for (const name of ['model.onnx', 'w.bin']) symlinkSync(`..data/${name}`, join(layout, name));
    for (const path of [join(layout, '..data', 'model.onnx'), join(layout, 'model.onnx')]) {
      const loaded = await backend.load(modelSpec('m', path));
      await loaded.unload();
    }
    rmSync(join(layout, '..data', 'w.bin'));
    await expect(backend.load(modelSpec('m', join(layout, 'model.onnx')))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await backend.close();
  });

  it('says when it cannot know them all', async () => {
    let deep: Uint8Array = delimited(5, tensor('x'));
    for (let i = 0; i < 60; i++) deep = attribute(6, deep);
    expect((await inspect(model(deep))).notSeen).toBe('holds messages more than 128 deep');
    expect((await inspect(model(delimited(5, tensor('x'.repeat(5000)))))).notSeen).toContain('5000 bytes');
    const wideTag = Uint8Array.of(0xea, 0x80, 0x80, 0x80, 0x10);
    expect((await inspect(model(delimited(5, wideTag, Uint8Array.of(0))))).notSeen).toContain('more than 32 bits');
    const many = Array.from({ length: MAX_EXTERNAL_FILES + 1 }, (_, i) => delimited(5, tensor(`w${i}`)));
    const found = await inspect(model(Buffer.concat(many)));
    expect(found.externalFiles.length).toBe(MAX_EXTERNAL_FILES);
    expect(found.notSeen).toContain('more than 10000 files');
  });

  it('leaves what is malformed inside the graph to the backend, and goes on behind it', async () => {
    const bad = delimited(7, delimited(5, Uint8Array.of(0x4a, 0xff, 0x7f)));
    const found = await inspect(Buffer.concat([bad, addExternalWeights({ location: 'w.bin' })]));
    expect(found).toEqual({ ...whole, externalFiles: [{ location: 'w.bin', byteLength: 0 }] });
  });
});

it('takes any content', async () => {
  const seeds = [mlp(4, 4, 4), addExternalWeights({ location: 'w.bin', offset: 8, length: 64 }), endlessLoop('positive')];
  const mutation = fc.record({
    seed: fc.nat(seeds.length - 1),
    cut: fc.nat(4000),
    edits: fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { maxLength: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(mutation, async ({ seed, cut, edits }) => {
      const bytes = Buffer.from(seeds[seed]!);
      for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
      const found = await inspect(cut < bytes.length ? bytes.subarray(0, cut) : bytes);
      expect(Object.keys(found)).toEqual(['isTruncated', 'externalFiles', 'notSeen']);
    }),
    { numRuns: 800 },
  );
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      expect((await inspect(bytes)).externalFiles.length).toBeLessThan(50);
    }),
    { numRuns: 400 },
  );
}, 30_000);

it('says when the file became shorter meanwhile', async () => {
  const bytes = mlp(64, 512, 10);
  const path = join(folder, 'shrunk.onnx');
  writeFileSync(path, bytes.subarray(0, 10));
  const file = await open(path);
  const found = await inspectModelFile(file, bytes.length);
  await file.close();
  expect(found.isTruncated).toMatch(/has become shorter than the \d+ bytes|ends at byte/);
});

describe('large files', () => {
  const constants = (count: number, bytesEach: number): Uint8Array =>
    encodeOnnxModel({
      name: 'large',
      inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch', 1] }],
      outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', 1] }],
      initializers: Array.from({ length: count }, (_, i) => ({
        name: `w${i}`,
        elementType: 'UINT8' as const,
        dims: [bytesEach],
        data: Buffer.alloc(bytesEach),
      })),
      nodes: [{ op: 'Identity', inputs: ['INPUT0'], outputs: ['OUTPUT0'] }],
    });

  /** How often the file was read, each a turn of the loop, and how many bytes. */
  async function measure(bytes: Uint8Array): Promise<{ found: ModelFileInspection; reads: number; readBytes: number }> {
    const path = join(folder, 'large.onnx');
    writeFileSync(path, bytes);
    const file = await open(path);
    let reads = 0;
    let readBytes = 0;
    const counted = new Proxy(file, {
      get(target, key) {
        if (key !== 'read') return Reflect.get(target, key);
        return (buffer: Buffer, offset: number, length: number, position: number) => {
          reads++;
          readBytes += length;
          return target.read(buffer, offset, length, position);
        };
      },
    });
    const found = await inspectModelFile(counted, bytes.length);
    await file.close();
    return { found, reads, readBytes };
  }

  it('reads 20,000 tensors once, a small piece at a time', async () => {
    const bytes = constants(20_000, 100);
    const { found, reads, readBytes } = await measure(bytes);
    expect(found).toEqual(whole);
    // Between two reads the loop is free: no more than 64 KiB are walked in one go.
    expect(reads).toBeGreaterThanOrEqual(bytes.length / 65_536);
    expect(reads).toBeLessThan((bytes.length / 65_536) * 1.2);
    expect(readBytes).toBeLessThan(bytes.length * 1.2);
  });

  it('steps over the contents of large tensors', async () => {
    const { found, reads, readBytes } = await measure(constants(10, 2_000_000));
    expect(found).toEqual(whole);
    expect(reads).toBeLessThan(20);
    expect(readBytes).toBeLessThan(200_000);
  });
});
