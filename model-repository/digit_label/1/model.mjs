/** From the ten numbers that the model `digits` gives to a word: "three (0.98)". */

export const config = {
  maxBatchSize: 64,
  inputs: [{ name: 'probabilities', datatype: 'FP32', dims: [10] }],
  outputs: [{ name: 'text', datatype: 'BYTES', dims: [1] }],
};

const WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];

/** @param {readonly import('nereid/model').ModelRequest[]} requests */
export function execute(requests) {
  return requests.map(({ inputs: { probabilities }, batchSize }) => ({
    text: Array.from({ length: batchSize }, (_, row) => describe(probabilities.data.subarray(row * 10, row * 10 + 10))),
  }));
}

function describe(probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  return best < 0 ? 'no digit' : `${WORDS[best]} (${probabilities[best].toFixed(2)})`;
}
