import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DescriptorRing } from './descriptor-ring.ts';

function pair(capacity: number, wordsPerEntry: number, startAt = 0) {
  const buffer = new ArrayBuffer(DescriptorRing.byteLength(capacity, wordsPerEntry) + 64);
  const words = new Int32Array(buffer, 64);
  words[0] = startAt;
  words[16] = startAt;
  return {
    words,
    producer: new DescriptorRing(buffer, 64, capacity, wordsPerEntry),
    consumer: new DescriptorRing(buffer, 64, capacity, wordsPerEntry),
  };
}

test('behaves as a bounded queue, also where the counters wrap', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom(0, 0x7ffffffe, -3),
      fc.array(fc.boolean(), { maxLength: 400, size: 'max' }),
      (exponent, wordsPerEntry, startAt, pushes) => {
        const capacity = 2 ** exponent;
        const { producer, consumer } = pair(capacity, wordsPerEntry, startAt);
        const model: number[] = [];
        const into = new Int32Array(wordsPerEntry);
        let next = 1;
        for (const isPush of pushes) {
          if (isPush) {
            const taken = producer.push(Int32Array.from({ length: wordsPerEntry }, (_, word) => next * 16 + word));
            expect(taken).toBe(model.length < capacity);
            if (taken) model.push(next);
            next++;
          } else {
            const expected = model.shift();
            expect(consumer.pop(into)).toBe(expected !== undefined);
            if (expected !== undefined) expect([...into]).toEqual(Array.from({ length: wordsPerEntry }, (_, word) => expected * 16 + word));
          }
          expect(producer.isEmpty).toBe(model.length === 0);
          expect(consumer.isEmpty).toBe(model.length === 0);
        }
      },
    ),
  );
});

test('a counter that the other side cannot have reached is reported', () => {
  const { words, consumer, producer } = pair(8, 2);
  const entry = new Int32Array(2);
  words[0] = 9;
  expect(() => consumer.pop(entry)).toThrow(/broken: 9 entries pushed, 0 popped, capacity 8/);
  words[0] = -1;
  expect(() => consumer.pop(entry)).toThrow(/broken/);
  words[0] = 0;
  expect(consumer.pop(entry)).toBe(false);
  for (let at = 0; at < 8; at++) expect(producer.push(entry)).toBe(true);
  words[16] = 9;
  expect(() => producer.push(entry)).toThrow(/broken/);
  words[16] = 1;
  expect(producer.push(entry)).toBe(true);
});

test('a shape that cannot work is refused', () => {
  const buffer = new ArrayBuffer(4096);
  expect(() => new DescriptorRing(buffer, 0, 6, 2)).toThrow(/power of two/);
  expect(() => new DescriptorRing(buffer, 32, 8, 2)).toThrow(/multiple of 64/);
  expect(() => new DescriptorRing(buffer, 0, 8, 0)).toThrow(/wordsPerEntry/);
  expect(() => new DescriptorRing(buffer, 0, 1024, 2)).toThrow(RangeError);
  expect(() => new DescriptorRing(buffer, 0, 8, 4).push(new Int32Array(3))).toThrow(/4 words/);
  expect(() => new DescriptorRing(buffer, 0, 8, 4).pop(new Int32Array(3))).toThrow(/4 words/);
});
