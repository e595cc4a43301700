/** Names beyond this many are counted together: a client that may load models chooses them. */
const MAX_MODELS = 10_000;
/** Stands for names that load requests bring and no repository has. */
export const OTHERS = '(others)';

/** What became of loads and swaps, by model, over the server's life. */
export class LoadCounts {
  readonly #loads: Map<string, number> = new Map();
  readonly #swaps: Map<string, number> = new Map();
  /** By model and stage, as the labels have it. */
  readonly #failures: Map<string, number> = new Map();

  loaded(modelName: string): void {
    add(this.#loads, labels(this.#loads, { model: modelName }));
  }

  /** One set of versions took over from another, or a rollback undid it. */
  switched(modelName: string): void {
    add(this.#swaps, labels(this.#swaps, { model: modelName }));
  }

  /** `stage`: what it was refused in; what served before goes on. */
  refused(modelName: string, stage: string): void {
    add(this.#failures, labels(this.#failures, { model: modelName, stage }));
  }

  /** Lines of the metrics page. */
  write(lines: string[]): void {
    family(lines, 'nereid_model_load_total', 'Model versions that were loaded.', this.#loads);
    family(
      lines,
      'nereid_model_load_failure_total',
      'Loads that were refused, by stage: files, load, warm_up, golden_check.',
      this.#failures,
    );
    family(lines, 'nereid_model_swap_total', 'Times that versions of a model were replaced while it served.', this.#swaps);
  }
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function labels(counts: ReadonlyMap<string, number>, given: { readonly model: string; readonly stage?: string }): string {
  const key = text(given);
  return counts.has(key) || counts.size < MAX_MODELS ? key : text({ ...given, model: OTHERS });
}

function text(given: object): string {
  return Object.entries(given)
    .map(([name, value]) => `${name}="${String(value).replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')}"`)
    .join(',');
}

function family(lines: string[], name: string, help: string, counts: ReadonlyMap<string, number>): void {
  lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`);
  for (const [key, count] of counts) lines.push(`${name}{${key}} ${count}`);
}
