import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ExpiryHeap } from './expiry-heap.ts';
import { ReadyQueue } from './ready-queue.ts';
import { Sequence } from './sequence.ts';
import { SequenceHarness } from './sequence-harness.case.ts';
import { SequenceList } from './sequence-list.ts';

const { plan } = new SequenceHarness().scheduler;
const sequences = (count: number): Sequence[] => Array.from({ length: count }, (_, id) => new Sequence(BigInt(id), BigInt(id), plan));

/** Which of 12 sequences, and what is done with it. */
const steps = fc.array(fc.record({ which: fc.nat(11), kind: fc.nat(3), value: fc.nat(20) }), { maxLength: 80, size: 'max' });

it('a list keeps the order in which sequences came, whichever leave', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const list = new SequenceList();
      const known = sequences(12);
      let model: Sequence[] = [];
      for (const { which, kind } of all) {
        const one = known[which]!;
        if (model.includes(one)) {
          list.remove(one);
          model = model.filter((other) => other !== one);
          expect([one.list, one.next, one.previous]).toEqual([null, null, null]);
        } else if (kind === 0) {
          list.prepend(one);
          model.unshift(one);
        } else {
          list.append(one);
          model.push(one);
        }
        const found: Sequence[] = [];
        for (let at = list.first; at !== null; at = at.next) {
          expect(at.list).toBe(list);
          expect(at.previous).toBe(found.at(-1) ?? null);
          found.push(at);
        }
        expect(found).toEqual(model);
      }
    }),
  );
});

it('a heap gives the earliest, whichever are changed or leave', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const heap = new ExpiryHeap();
      const known = sequences(12);
      const model = new Set<Sequence>();
      for (const { which, kind, value } of all) {
        const one = known[which]!;
        if (kind === 0) {
          heap.remove(one);
          model.delete(one);
          expect(one.heapIndex).toBe(-1);
        } else {
          one.expiresNs = value;
          heap.put(one);
          model.add(one);
        }
        expect(heap.first?.expiresNs).toBe(model.size === 0 ? undefined : Math.min(...[...model].map(({ expiresNs }) => expiresNs)));
        if (heap.first !== null) expect(model.has(heap.first)).toBe(true);
      }
      const left = [...model].map(({ expiresNs }) => expiresNs).sort((a, b) => a - b);
      const drained: number[] = [];
      for (let first = heap.first; first !== null; first = heap.first) {
        drained.push(first.expiresNs);
        heap.remove(first);
      }
      expect(drained).toEqual(left);
    }),
  );
});

it('a ready queue is a queue, also after some were put back or left', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const queue = new ReadyQueue();
      let model: Sequence[] = [];
      for (const { which, kind, value } of all) {
        if (kind <= 1) {
          const added = sequences(value);
          for (const one of added) queue.push(one);
          model.push(...added);
        } else if (kind === 2) {
          const count = Math.min(which, model.length);
          const taken = Array.from({ length: count }, () => queue.shift());
          expect(taken).toEqual(model.splice(0, count));
          if (value % 2 === 0) {
            queue.unshift(taken);
            model.unshift(...taken);
          }
        } else {
          const isKept = ({ id }: Sequence): boolean => Number(id) % 3 !== value % 3;
          queue.keepIf(isKept);
          model = model.filter(isKept);
        }
        expect(Array.from({ length: queue.length }, (_, index) => queue.sequenceAt(index))).toEqual(model);
      }
    }),
  );
});
