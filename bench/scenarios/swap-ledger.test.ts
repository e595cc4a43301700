import { expect, test } from 'vitest';
import { type SwapFaults, SwapLedger } from './swap-ledger.ts';

const none: SwapFaults = { failed: 0, lost: 0, answeredTwice: 0, wrongValue: 0, wrongVersion: 0, olderThanAnnounced: 0, wentBack: 0 };

/** A request that is answered by `version`, as it should be. */
function answer(ledger: SwapLedger, version: number): void {
  const id = ledger.send();
  ledger.settle(id, { id, value: id, modelVersion: version, computedBy: version });
}

function swapTo(ledger: SwapLedger, version: number): void {
  ledger.offer(version);
  ledger.announce(version);
}

test('a swap under which everything is as it should be', () => {
  const ledger = new SwapLedger(1);
  answer(ledger, 1);
  // Sent before the swap: both are right.
  const early = ledger.send();
  ledger.offer(2);
  answer(ledger, 1);
  answer(ledger, 2);
  ledger.announce(2);
  answer(ledger, 2);
  ledger.settle(early, { id: early, value: early, modelVersion: 1, computedBy: 1 });
  ledger.close();
  expect(ledger.faults).toEqual(none);
  expect([ledger.sent, ledger.answered, [...ledger.versions]]).toEqual([5, 5, [1, 2]]);
});

test.each<[keyof SwapFaults, (ledger: SwapLedger) => void]>([
  ['failed', (ledger) => ledger.settle(ledger.send(), new Error('503'))],
  ['lost', (ledger) => ledger.send()],
  [
    'answeredTwice',
    (ledger) => {
      answer(ledger, 1);
      ledger.settle(1, { id: 1, value: 1, modelVersion: 1, computedBy: 1 });
    },
  ],
  ['answeredTwice', (ledger) => ledger.unasked('7 bytes')],
  ['wrongValue', (ledger) => ledger.settle(ledger.send(), { id: 1, value: 2, modelVersion: 1, computedBy: 1 })],
  ['wrongValue', (ledger) => ledger.settle(ledger.send(), { id: 2, value: 1, modelVersion: 1, computedBy: 1 })],
  ['wrongVersion', (ledger) => ledger.settle(ledger.send(), { id: 1, value: 1, modelVersion: 1, computedBy: 0 })],
  ['wrongVersion', (ledger) => answer(ledger, 2)],
  [
    'olderThanAnnounced',
    (ledger) => {
      swapTo(ledger, 2);
      answer(ledger, 1);
    },
  ],
  [
    'wentBack',
    (ledger) => {
      ledger.offer(2);
      answer(ledger, 2);
      answer(ledger, 1);
    },
  ],
])('%s is counted, once, and said in words', (kind, happen) => {
  const ledger = new SwapLedger(1);
  happen(ledger);
  ledger.close();
  expect(ledger.faults).toEqual({ ...none, [kind]: 1 });
  expect(ledger.samples).toHaveLength(1);
});
