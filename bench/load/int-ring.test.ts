import fc from 'fast-check';
import { expect, it } from 'vitest';
import { IntRing } from './int-ring.ts';

it('does what an array does, whatever its size', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('push' as const), value: fc.nat(9) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('shift' as const), value: fc.constant(0) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), value: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), value: fc.constant(0) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const ring = new IntRing(1);
      const model: number[] = [];
      for (const { kind, value } of steps) {
        if (kind === 'push') {
          ring.push(value);
          model.push(value);
        } else if (kind === 'shift') expect(ring.shift()).toBe(model.shift() ?? -1);
        else if (kind === 'remove') {
          ring.remove(value);
          const at = model.indexOf(value);
          if (at >= 0) model.splice(at, 1);
        } else {
          ring.clear();
          model.length = 0;
        }
        expect(ring.length).toBe(model.length);
      }
      expect(Array.from(model, () => ring.shift())).toEqual(model);
    }),
  );
});
