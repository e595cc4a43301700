import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const exampleRepository: string = join(root, 'model-repository');
const entry = join(root, 'dist/server/main.js');

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A real `nereid` process. Every test that starts one ends it: `stop`, or `kill`. */
export class ServerProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  http = '';
  grpc = '';
  metrics = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid!;
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr }));
    });
  }

  /** Runs the command and does not wait for it to serve. */
  static run(args: readonly string[], env: NodeJS.ProcessEnv = {}): ServerProcess {
    if (!existsSync(entry)) throw new Error('dist/ is missing: run npm run build first');
    return new ServerProcess(
      spawn(process.execPath, [entry, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } }),
    );
  }

  /** Serves on free ports and waits until every model has ended loading. */
  static async start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<ServerProcess> {
    const server = ServerProcess.run(['serve', '--http-port=0', '--grpc-port=0', '--metrics-port=0', '--log-format=json', ...args], env);
    const line = await server.logLine((one) => String(one['msg']).startsWith('serving '));
    server.http = String(line['http']);
    server.grpc = String(line['grpc']);
    server.metrics = String(line['metrics']);
    return server;
  }

  /** The first JSON log line, past or to come, that fits. Rejects when the process ends without one. */
  async logLine(fits: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> {
    const exited = this.exited.then((exit) => {
      throw new Error(`the server ended (${exit.code ?? exit.signal}): ${exit.stderr}`);
    });
    exited.catch(() => {});
    for (;;) {
      for (const text of this.#stderr.split('\n').slice(0, -1)) {
        const line = parseLine(text);
        if (line !== null && fits(line)) return line;
      }
      await Promise.race([new Promise((resolve) => this.#child.stderr!.once('data', resolve)), exited]);
    }
  }

  get stderr(): string {
    return this.#stderr;
  }

  get stdout(): string {
    return this.#stdout;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async stop(): Promise<Exit> {
    this.signal('SIGTERM');
    return this.exited;
  }

  async kill(): Promise<Exit> {
    this.signal('SIGKILL');
    return this.exited;
  }

  /** Process ids of its execution hosts. */
  hosts(): number[] {
    return childrenOf(this.pid);
  }

  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const payload = body instanceof Uint8Array ? new Uint8Array(body) : typeof body === 'string' ? body : JSON.stringify(body);
    return answerOf(await fetch(this.http + path, { method: 'POST', body: payload, headers }));
  }

  async get(path: string): Promise<Answer> {
    return answerOf(await fetch(this.http + path));
  }

  /** The value of one series of the metrics page, by its whole name with labels; undefined when it is not there. */
  async metric(series: string): Promise<number | undefined> {
    const page = await (await fetch(this.metrics)).text();
    const line = page.split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  /** Parsed, or undefined when the body is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  readonly json: any;
}

async function answerOf(response: Response): Promise<Answer> {
  const bytes = Buffer.from(await response.arrayBuffer());
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, bytes, json };
}

function parseLine(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}

export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}

export function isAlive(pid: number): boolean {
  try {
    // A zombie is gone for all that matters here, and 'kill 0' does not tell.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Waits, bounded, until `isSo`. */
export async function until(isSo: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`not so after ${limitMs} ms: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A repository made of the given files, by path inside it; gone when `remove` is called. */
export function makeRepository(files: Readonly<Record<string, string | Uint8Array>>): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'nereid-repository-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
