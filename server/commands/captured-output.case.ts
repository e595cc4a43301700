import { vi } from 'vitest';

export interface CapturedOutput {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in this process and takes what it prints. */
export async function captureOutput(run: () => Promise<number>): Promise<CapturedOutput> {
  const printed = { stdout: '', stderr: '' };
  const taps = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      printed[name] += String(text);
      return true;
    }),
  );
  try {
    const code = await run();
    return { code, ...printed };
  } finally {
    for (const tap of taps) tap.mockRestore();
  }
}
