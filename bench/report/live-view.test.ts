import { describe, expect, it } from 'vitest';
import type { LoadWindow } from '../load/load-window.ts';
import { histogramOf } from '../statistics/simulated-samples.case.ts';
import { LiveView } from './live-view.ts';
import { madePoint } from './made-report.case.ts';
import { sparkline } from './sparkline.ts';

const nothing = histogramOf([]);
function window(ok: number, refused = 0): LoadWindow {
  return {
    fromMs: 1000,
    toMs: 2000,
    sent: ok,
    outcomes: { ok, refused, expired: 0, failed: 0, wrong: 0 },
    good: ok,
    unsent: 0,
    validated: 0,
    bytesSent: 0,
    bytesReceived: 0,
    latency: histogramOf(Array.from({ length: ok }, (_, i) => 100 + i)),
    refusal: nothing,
    lag: nothing,
    firstPart: nothing,
    betweenParts: nothing,
    parts: 0,
    errors: [],
    generator: { busy: 0.42, cpu: 0.4, involuntarySwitches: 0 },
  };
}

class Screen {
  readonly isTTY: boolean;
  readonly columns: number;
  written = '';

  constructor(isTTY: boolean, columns = 200) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.written += text;
  }

  /** What stands on the screen: a line that is erased is gone. */
  lines(): string[] {
    return this.written.split('\n').map((line) => line.slice(line.lastIndexOf('\u001b[K') + 1).replace('[K', ''));
  }
}

describe('LiveView', () => {
  it('shows the window on a terminal, and a line for each point that is finished', () => {
    const screen = new Screen(true);
    const view = new LiveView(screen, false);
    view.begin('concurrency 4', 1, 3);
    view.progress({ phase: 'warm-up', window: window(500), elapsedMs: 1000 });
    view.progress({ phase: 'measuring', window: window(1000, 3), elapsedMs: 2000 });
    expect(screen.lines()).toEqual([
      '2/3 concurrency 4  measuring    2 s     1,000/s  p50 599 us   p99 1.09 ms  3 errors  generator 42 %  ▅█',
    ]);
    view.finished(madePoint({ busy: 0.99 }));
    view.close();
    expect(screen.lines()).toEqual([
      expect.stringMatching(/^concurrency 4: 4,0\d\d\/s ±1\.\d %, p50 8\d\d us, p99 [\d.]+ ms, 0 errors, 1 warning$/),
      '',
    ]);
  });

  it('never writes a line that would wrap', () => {
    for (const columns of [10, 40, 60, 80]) {
      const screen = new Screen(true, columns);
      const view = new LiveView(screen, false);
      view.begin('concurrency 4', 0, 1);
      view.progress({ phase: 'measuring', window: window(1000), elapsedMs: 2000 });
      expect(screen.lines()[0]!.length).toBeLessThan(columns);
    }
  });

  it('writes nothing but finished points where there is no terminal', () => {
    const screen = new Screen(false);
    const view = new LiveView(screen, false);
    view.begin('concurrency 4', 0, 1);
    view.progress({ phase: 'measuring', window: window(10), elapsedMs: 2000 });
    expect(screen.written).toBe('');
    view.finished(madePoint());
    view.close();
    expect(screen.written).toMatch(/^concurrency 4: [\w.,/±% ]*\n$/);
  });
});

describe('sparkline', () => {
  it('is as high as the share of the largest', () => {
    expect(sparkline([0, 50, 100])).toBe('▁▅█');
    expect(sparkline([0, 0])).toBe('▁▁');
    expect(sparkline([])).toBe('');
  });
});
