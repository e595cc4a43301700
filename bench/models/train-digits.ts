/**
 * Trains the example model `digits`: two convolutions, a pooling and two fully connected layers, by stochastic gradient descent with
 * momentum, on images distorted at random so that it also reads writers whose hand it has not seen. One seed, one thread and a fixed
 * order: the same weights every time.
 */

import { SeededRandom } from '../statistics/seeded-random.ts';
import { type Digits, digitPixels } from './digits-data.ts';
import { distortImage } from './distort-image.ts';
import { Layer, wholeView, windowView } from './layer.ts';
import { MaxPool } from './max-pool.ts';
import type { Stage } from './stage.ts';

/** The stages in their order; pixels go in divided by 16. */
export interface DigitsNetwork {
  /** 3 x 3 on the image, 8 x 8 places. */
  readonly strokes: Layer;
  /** 3 x 3 on the strokes, 8 x 8 places. */
  readonly shapes: Layer;
  /** The strongest shapes of every 2 x 2 places: 4 x 4 places. */
  readonly pooled: MaxPool;
  readonly hidden: Layer;
  /** Ten scores, one for each digit. */
  readonly scores: Layer;
}

export interface TrainDigitsOptions {
  readonly epochs: number;
  readonly seed: number;
}

const imageSide = 8;
const strokeChannels = 32;
const shapeChannels = 64;
const hiddenChannels = 128;
const classes = 10;
const batchSize = 16;
const firstLearningRate = 0.03;

/** Trains on all of `digits`. */
export function trainDigits(digits: Digits, options: TrainDigitsOptions): DigitsNetwork {
  const random = new SeededRandom(options.seed);
  const strokes = new Layer(windowView(imageSide, 1), strokeChannels, true, random);
  const shapes = new Layer(windowView(imageSide, strokeChannels), shapeChannels, true, random);
  const pooled = new MaxPool(imageSide, shapeChannels);
  const hidden = new Layer(wholeView(pooled.outputs.length), hiddenChannels, true, random);
  const scores = new Layer(wholeView(hiddenChannels), classes, false, random);
  const stages = [strokes, shapes, pooled, hidden, scores];
  const layers = [strokes, shapes, hidden, scores];
  const image = new Float32Array(digitPixels);
  const count = digits.labels.length;
  const order = Int32Array.from({ length: count }, (_, index) => index);

  for (let epoch = 0; epoch < options.epochs; epoch++) {
    const learningRate = (firstLearningRate / 2) * (1 + Math.cos((Math.PI * epoch) / options.epochs));
    random.shuffle(order);
    for (let from = 0; from < count; from += batchSize) {
      const to = Math.min(from + batchSize, count);
      for (let i = from; i < to; i++) {
        const row = order[i]!;
        distortImage(digits.pixels.subarray(row * digitPixels, (row + 1) * digitPixels), random, image);
        learn(stages, image, digits.labels[row]!);
      }
      for (const layer of layers) layer.step(learningRate, to - from);
    }
  }
  return { strokes, shapes, pooled, hidden, scores };
}

/** Takes one image forth and its error back through the stages, adding to the layers' gradients. */
function learn(stages: readonly Stage[], image: Float32Array, label: number): void {
  let inputs = image;
  for (const stage of stages) {
    stage.forward(inputs);
    inputs = stage.outputs;
  }
  const last = stages.at(-1)!;
  crossEntropyErrors(last.outputs, label, last.outputErrors);
  for (let i = stages.length - 1; i >= 0; i--) {
    const before = stages[i - 1];
    stages[i]!.backward(before?.outputs ?? image, before?.outputErrors ?? null);
  }
}

/** How the cross entropy between the scores' softmax and the right `label` changes with each score. */
function crossEntropyErrors(scores: Float32Array, label: number, errors: Float32Array): void {
  const largest = Math.max(...scores);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) {
    const value = Math.exp(scores[i]! - largest);
    errors[i] = value;
    sum += value;
  }
  for (let i = 0; i < scores.length; i++) errors[i]! /= sum;
  errors[label]! -= 1;
}
