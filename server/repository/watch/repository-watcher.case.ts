import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { listModels } from '../list-models.ts';
import { readModelTree } from '../model-tree.ts';
import { RepositoryWatcher, type RepositoryWatcherOptions, type StableChange } from './repository-watcher.ts';

/** A repository in a new folder, a watcher over it, and what the watcher said. */
export class WatcherCase {
  /** Absolute; `root` is in it. */
  readonly base: string = mkdtempSync(join(tmpdir(), 'nereid-watcher-'));
  readonly root: string = join(this.base, 'models');
  readonly changes: StableChange[] = [];
  readonly problems: { directory: string; text: string }[] = [];
  readonly notes: string[] = [];
  readonly #watchers: RepositoryWatcher[] = [];
  #markers = 0;

  constructor() {
    mkdirSync(this.root);
  }

  create(options: Partial<RepositoryWatcherOptions> = {}): RepositoryWatcher {
    const watcher = new RepositoryWatcher({
      directories: [this.root],
      pollMs: 0,
      settleMs: 150,
      onStable: (change) => this.changes.push(change),
      onProblem: (directory, error) => this.problems.push({ directory, text: String(error) }),
      note: (sentence) => this.notes.push(sentence),
      ...options,
    });
    this.#watchers.push(watcher);
    return watcher;
  }

  /** Starts with what is on disk as known. */
  async start(options: Partial<RepositoryWatcherOptions> = {}): Promise<RepositoryWatcher> {
    const known = new Map<string, string>();
    for (const [name, [home]] of await listModels(options.directories ?? [this.root])) {
      const tree = await readModelTree(join(home!, name)).catch(() => null);
      if (tree !== null) known.set(name, tree.whole);
    }
    const watcher = this.create(options);
    await watcher.start(known);
    return watcher;
  }

  async end(): Promise<void> {
    for (const watcher of this.#watchers) await watcher.stop();
    rmSync(this.base, { recursive: true, force: true });
  }

  addModel(name: string, home: string = this.root): string {
    const path = join(home, name);
    mkdirSync(join(path, '1'), { recursive: true });
    writeFileSync(join(path, 'config.pbtxt'), `name: "${name}"`);
    writeFileSync(join(path, '1', 'model.onnx'), 'weights');
    return path;
  }

  /** What was said of a name. */
  of(name: string): StableChange[] {
    return this.changes.filter((change) => change.name === name);
  }

  /** The `count`-th change of a name, waited for. */
  async reported(name: string, count: number = 1): Promise<StableChange> {
    await vi.waitFor(() => expect(this.of(name).length).toBeGreaterThanOrEqual(count), { timeout: 10_000, interval: 5 });
    return this.of(name)[count - 1]!;
  }

  async versionsOf(name: string, count: number = 1): Promise<number[]> {
    return [...((await this.reported(name, count)).tree?.versions.keys() ?? [])].sort();
  }

  /** Resolves when whatever is at rest now has been reported: as two models that come now, one after the other, have been. */
  async untilQuiet(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      this.#markers += 1;
      this.addModel(`marker-${this.#markers}`);
      await this.reported(`marker-${this.#markers}`);
    }
  }
}
