import type { ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { HostFault } from './check-response.ts';
import { FrameReader } from './frame-reader.ts';
import { FrameError, HOST_FDS } from './messages.ts';

/** Who hears a host. */
export interface HostHearer {
  /** Nothing that it says is of interest any more. */
  isEnded(): boolean;
  /** Throws HostFault or FrameError for what cannot be. */
  onFrame(kind: number, payload: Buffer): void;
  onFault(reason: string): void;
  onWake(): void;
  /** What it prints, as output ('info') or as an error. */
  onText(text: string, level: 'info' | 'warn'): void;
}

/** Resolves with how the process ended, when what it said before has been read. `stdio`: as HOST_FDS has it. */
export function listenToHost(child: ChildProcess, stdio: readonly (Duplex | null)[], hearer: HostHearer): Promise<string> {
  const control = stdio[HOST_FDS.control]!;
  const reader = new FrameReader((kind, payload) => hearer.onFrame(kind, payload));
  control.on('data', (chunk: Buffer) => {
    if (hearer.isEnded()) return;
    try {
      reader.push(chunk);
    } catch (error) {
      if (!(error instanceof HostFault || error instanceof FrameError)) throw error;
      hearer.onFault(error instanceof HostFault ? error.message : `sent what is not a frame: ${error.message}`);
    }
  });
  // A socket that breaks is followed by the end of the process, or is followed up by ending it.
  control.on('close', () => child.kill('SIGKILL'));
  stdio[HOST_FDS.wake]?.on('data', () => hearer.onWake());
  for (const stream of stdio) stream?.on('error', () => {});
  stdio[1]?.setEncoding('utf8').on('data', (text: string) => hearer.onText(text, 'info'));
  stdio[2]?.setEncoding('utf8').on('data', (text: string) => hearer.onText(text, 'warn'));
  return new Promise((resolve) => {
    // What the host said before its end may still wait to be read.
    const finish = (reason: string): void => void setImmediate(() => resolve(reason));
    child.once('error', (error) => {
      if (child.pid === undefined) finish(`could not be started: ${error.message}`);
    });
    child.once('exit', (code, signal) => finish(signal === null ? `ended with exit code ${code}` : `ended by ${signal}`));
  });
}
