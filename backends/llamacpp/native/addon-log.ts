import type { HostServices } from '../../api/backend.ts';

export type WriteLog = HostServices['log'];

const ERROR = 2;
const WARN = 3;
/** Characters of a line that are kept, lines of a second, and problems that are remembered. */
const MAX_LINE = 500;
const LINES_PER_SECOND = 100;
const MAX_PROBLEMS = 8;

/** Takes llama.cpp's log, which comes in pieces of lines, and writes it to a host's: errors and warnings as warnings, the rest for debugging. */
export class AddonLog {
  readonly #write: WriteLog;
  readonly #now: () => number;
  #line = '';
  #level = 0;
  #second = 0;
  #lines = 0;
  #dropped = 0;
  #droppedWarnings = 0;
  #problems: string[] = [];

  constructor(write: WriteLog, now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  /** For the addon's `setLogger`. */
  take(level: number, text: string): void {
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      this.#append(level, text.slice(from, end));
      this.#endLine();
      from = end + 1;
    }
    this.#append(level, text.slice(from));
  }

  /** The last errors since the last call, oldest first. */
  takeProblems(): readonly string[] {
    this.#endLine();
    const problems = this.#problems;
    this.#problems = [];
    return problems;
  }

  #append(level: number, text: string): void {
    if (text === '') return;
    if (this.#line === '') this.#level = level;
    if (this.#line.length < MAX_LINE) this.#line += text.slice(0, MAX_LINE - this.#line.length);
  }

  #endLine(): void {
    const line = this.#line.trim();
    this.#line = '';
    // The dots of a load that goes on.
    if (/^\.*$/.test(line)) return;
    if (this.#level === ERROR) {
      if (this.#problems.length === MAX_PROBLEMS) this.#problems.shift();
      this.#problems.push(line);
    }
    const second = Math.floor(this.#now() / 1000);
    if (second !== this.#second) {
      if (this.#dropped > 0) {
        this.#write(
          this.#droppedWarnings > 0 ? 'warn' : 'debug',
          `llama.cpp: ${this.#dropped} lines of its log were left out, ${this.#droppedWarnings} of them warnings`,
        );
      }
      this.#second = second;
      this.#lines = 0;
      this.#dropped = 0;
      this.#droppedWarnings = 0;
    }
    const isWarning = this.#level === ERROR || this.#level === WARN;
    if (++this.#lines > LINES_PER_SECOND) {
      this.#dropped++;
      if (isWarning) this.#droppedWarnings++;
    } else {
      this.#write(isWarning ? 'warn' : 'debug', `llama.cpp: ${line}`);
    }
  }
}
