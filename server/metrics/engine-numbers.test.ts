import { describe, expect, it } from 'vitest';
import { EngineNumbers, InstanceNumbers } from './engine-numbers.ts';

describe('numbers of engines', () => {
  it('are summed over instances, and what one counted stays when it has gone', () => {
    const sum = new EngineNumbers();
    const first = new InstanceNumbers();
    const second = new InstanceNumbers();
    // Before it is in service, as its creation tells them.
    first.take({ promptTokens: 5, kvTokensTotal: 100 });
    expect(sum.isTold).toBe(false);
    first.join(sum);
    second.join(sum);
    expect(sum).toMatchObject({ isTold: true, promptTokens: 5, kvTokensTotal: 100 });
    second.take({ promptTokens: 2, kvTokensTotal: 100, kvTokensUsed: 30, runningSequences: 2 });
    first.take({ promptTokens: 6, kvTokensUsed: 10, runningSequences: 1 });
    expect(sum).toMatchObject({ promptTokens: 8, kvTokensTotal: 200, kvTokensUsed: 40, runningSequences: 3 });
    second.leave();
    second.leave();
    expect(sum).toMatchObject({ promptTokens: 8, kvTokensTotal: 100, kvTokensUsed: 10, runningSequences: 1 });
    // Its replacement counts from 0.
    const third = new InstanceNumbers();
    third.join(sum);
    third.take({ promptTokens: 1, kvTokensTotal: 100 });
    second.take({ promptTokens: 99, kvTokensTotal: 100 });
    expect(sum).toMatchObject({ promptTokens: 9, kvTokensTotal: 200 });
  });

  it('never fall where they count, whatever is told', () => {
    const sum = new EngineNumbers();
    const instance = new InstanceNumbers();
    instance.join(sum);
    instance.take({ steps: 10, kvTokensUsed: 10 });
    instance.take({ steps: 4, kvTokensUsed: 4 });
    expect(sum).toMatchObject({ steps: 10, kvTokensUsed: 4 });
    instance.take({ steps: 11 });
    expect(sum.steps).toBe(11);
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, '1', null, {}])('are all refused where one is %s', (value) => {
    const sum = new EngineNumbers();
    const instance = new InstanceNumbers();
    instance.join(sum);
    expect(instance.take({ promptTokens: 1, kvTokensUsed: value })).toBe(false);
    expect(sum).toEqual(new EngineNumbers());
  });
});
