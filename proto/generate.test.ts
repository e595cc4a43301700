import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { afterAll, describe, expect, test } from 'vitest';
import { descriptor } from './gen/descriptor.ts';

const protoFolder = import.meta.dirname;
const freshFolder = mkdtempSync(join(tmpdir(), 'nereid-generate-'));
afterAll(() => rmSync(freshFolder, { recursive: true, force: true }));

describe('proto/gen', () => {
  test('is what generate.mjs writes from the .proto files now', () => {
    execFileSync(process.execPath, [join(protoFolder, 'generate.mjs'), '--out', freshFolder]);
    const fresh = readdirSync(freshFolder).sort();
    expect(fresh).toEqual(readdirSync(join(protoFolder, 'gen')).sort());
    expect(fresh).toContain('descriptor.ts');
    for (const fileName of fresh) {
      const expected = readFileSync(join(freshFolder, fileName), 'utf8');
      expect(readFileSync(join(protoFolder, 'gen', fileName), 'utf8'), `${fileName} is stale: run npm run generate`).toBe(expected);
    }
  });
});

describe('the descriptor', () => {
  const root = protobuf.Root.fromJSON(descriptor).resolveAll();

  test('has every RPC of the service, and only ModelStreamInfer streams', () => {
    const methods = root.lookupService('inference.GRPCInferenceService').methodsArray;
    expect(methods).toHaveLength(20);
    const streaming = methods.filter((method) => method.requestStream === true || method.responseStream === true);
    expect(streaming.map((method) => method.name)).toEqual(['ModelStreamInfer']);
    expect(Object.keys(root.lookupService('grpc.health.v1.Health').methods)).toEqual(['Check', 'Watch']);
  });

  test('keeps field names as the wire spells them', () => {
    const fields = root.lookupType('inference.ModelSequenceBatching.Control').fields;
    expect(fields['int32FalseTrue']?.id).toBe(2);
    expect(Reflect.get(fields['int32FalseTrue'] ?? {}, 'protoName')).toBe('int32_false_true');
  });

  test('encodes an infer request to known bytes', () => {
    const type = root.lookupType('inference.ModelInferRequest');
    const bytes = type.encode(
      type.fromObject({ modelName: 'm', id: 'x', parameters: { p: { boolParam: true } }, rawInputContents: [new Uint8Array([1, 2])] }),
    );
    // 1 "m"; 3 "x"; 4 { 1 "p", 2 { 1 true } }; 7 <01 02>
    expect(Buffer.from(bytes.finish()).toString('hex')).toBe('0a016d1a01782207' + '0a0170' + '12020801' + '3a020102');
  });
});
