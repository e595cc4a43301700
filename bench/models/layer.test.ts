import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../statistics/seeded-random.ts';
import { Layer, type View, wholeView, windowView } from './layer.ts';

describe('windowView', () => {
  test('sees 3 x 3 pixels around each place and nothing outside', () => {
    const view = windowView(2, 1);
    expect(view.places).toBe(4);
    expect([...view.seen.subarray(0, 9)]).toEqual([-1, -1, -1, -1, 0, 1, -1, 2, 3]);
    expect([...view.seen.subarray(27)]).toEqual([0, 1, -1, 2, 3, -1, -1, -1, -1]);
  });

  test('channels lie together', () => {
    const view = windowView(4, 2);
    expect(view.places).toBe(16);
    // The middle of the eleventh place is the pixel in row 2, column 2.
    expect([...view.seen.subarray(10 * 18 + 8, 10 * 18 + 10)]).toEqual([20, 21]);
  });
});

describe('Layer', () => {
  /** Half the sum of the squared outputs: its change with each output is the output itself. */
  function loss(layer: Layer, inputs: Float32Array): number {
    layer.forward(inputs);
    return layer.outputs.reduce((sum, output) => sum + output * output, 0) / 2;
  }

  test.each<[string, View, number]>([
    ['one place', wholeView(6), 5],
    ['windows', windowView(4, 2), 3],
  ])('%s: the errors that go back are the slopes of the loss', (_, view, channels) => {
    const random = new SeededRandom(11);
    const layer = new Layer(view, channels, true, random);
    const inputs = Float32Array.from({ length: view.inputs }, () => 0.1 + random.next());
    loss(layer, inputs);
    layer.outputErrors.set(layer.outputs);
    const errors = new Float32Array(view.inputs);
    layer.backward(inputs, errors);
    const nudge = 1e-2;
    for (let i = 0; i < inputs.length; i++) {
      const nudged = (by: number): number =>
        loss(
          layer,
          inputs.map((value, index) => (index === i ? value + by : value)),
        );
      const slope = (nudged(nudge) - nudged(-nudge)) / (2 * nudge);
      expect(Math.abs(errors[i]! - slope)).toBeLessThan(0.02 * Math.max(1, Math.abs(slope)));
    }
  });

  test('steps down the gradient make the loss smaller', () => {
    const random = new SeededRandom(12);
    const layer = new Layer(wholeView(4), 3, true, random);
    const inputs = Float32Array.of(0.5, 1, -1, 2);
    const before = loss(layer, inputs);
    for (let i = 0; i < 20; i++) {
      loss(layer, inputs);
      layer.outputErrors.set(layer.outputs);
      layer.backward(inputs, null);
      layer.step(0.005, 1);
    }
    expect(before).toBeGreaterThan(0);
    expect(loss(layer, inputs)).toBeLessThan(before / 2);
  });
});
