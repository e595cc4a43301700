import { type Logger, visibleText } from './log.ts';

export interface ServerUrls {
  /** `http://127.0.0.1:8000`, without a slash at the end; null: not served. */
  readonly http: string | null;
  readonly webSocket: string | null;
  readonly grpc: string | null;
  /** With its path. */
  readonly metrics: string | null;
}

export interface TensorSummary {
  readonly name: string;
  readonly datatype: string;
  /** Batch dimension included; -1: open. */
  readonly shape: readonly number[];
}

/** One model version that was found at start. */
export interface ModelTableRow {
  readonly name: string;
  readonly version: string;
  /** READY or UNAVAILABLE, as the repository index has it; or one of {@link NOT_ASKED_FOR}. */
  readonly state: string;
  /** Why it is not ready; ''. */
  readonly reason: string;
  readonly backend: string;
  /** Where its instances run: `2 process`. */
  readonly host: string;
  readonly maxBatchSize: number;
  /** {@link describeTensors}. */
  readonly inputs: string;
  readonly outputs: string;
  /** For the example request; without it the example asks for the model's metadata. */
  readonly exampleInputs?: readonly TensorSummary[];
  /** Of a model of texts: another call to try, beside or instead of an inference. */
  readonly exampleCall?: ExampleCall;
}

export interface ExampleCall {
  /** Below the server's address. */
  readonly path: string;
  readonly body: object;
}

/** Hears of the start from the server. Models may load at the same time. */
export interface StartUpProgress {
  modelsFound(count: number): void;
  modelLoading(name: string, version: string): void;
  /** READY, or UNAVAILABLE with its reason. */
  modelEnded(name: string, version: string, state: string, reason: string): void;
  /** The models have ended and the endpoints listen: once, at the end. */
  serving(models: readonly ModelTableRow[], urls: ServerUrls): void;
}

export interface StartUpReportOptions {
  readonly log: Logger;
  /** Where the table goes; `columns` is a terminal's width. */
  readonly output: { write(text: string): unknown; readonly columns?: number | undefined };
  /** A terminal has colours and, while models load, one line that is written over; else there is a log line for each model. */
  readonly isTerminal: boolean;
  /** False: the models become log lines, so that what the process writes is log lines only. */
  readonly isTable: boolean;
}

/** Ends at most at this: a terminal line that wraps cannot be written over. */
const PROGRESS_WIDTH = 78;
const CLEAR_LINE = '\r\u001b[K';
/** An example with more numbers than this is no use to copy. */
const MAX_EXAMPLE_ELEMENTS = 64;
/** Rows of the table; a repository of thousands is a summary. */
const MAX_ROWS = 100;

/** States of models that nobody has asked for yet, which is how it should be. */
const NOT_ASKED_FOR: readonly string[] = ['on demand', 'not loaded'];

export function createStartUpReport(options: StartUpReportOptions): StartUpProgress {
  return new StartUpReport(options);
}

class StartUpReport implements StartUpProgress {
  readonly #options: StartUpReportOptions;
  #count = 0;
  #ended = 0;
  readonly #loading: Set<string> = new Set();

  constructor(options: StartUpReportOptions) {
    this.#options = options;
  }

  modelsFound(count: number): void {
    this.#count = count;
    this.#showProgress();
  }

  modelLoading(name: string, version: string): void {
    this.#loading.add(`${name} ${version}`);
    this.#showProgress();
  }

  modelEnded(name: string, version: string, state: string): void {
    this.#ended++;
    this.#loading.delete(`${name} ${version}`);
    if (this.#options.isTerminal) this.#options.output.write(CLEAR_LINE);
    // The server itself logs what failed, and why.
    if (state === 'READY' && !this.#options.isTerminal) this.#options.log.info({ model: name, version }, 'model loaded');
    this.#showProgress();
  }

  serving(models: readonly ModelTableRow[], urls: ServerUrls): void {
    const { output, isTerminal, isTable, log } = this.#options;
    const count = new Set(models.map(({ name }) => name)).size;
    const ready = countOf(models, 'READY');
    const others = NOT_ASKED_FOR.map((state) => ({ state, of: countOf(models, state) })).filter(({ of }) => of > 0);
    const message = [`serving ${ready} of ${count} models`, ...others.map(({ state, of }) => `${of} ${state}`)].join(', ');
    if (isTerminal) output.write(CLEAR_LINE);
    if (isTable) output.write(`\n${modelTable(models, isTerminal, output.columns)}\n${urlLines(models, urls)}\n`);
    log.info({ models: count, ready, ...urls }, message);
  }

  #showProgress(): void {
    if (!this.#options.isTerminal || this.#ended >= this.#count) return;
    const names = [...this.#loading].map(visibleText).join(', ');
    const line = `loading ${Math.min(this.#ended + 1, this.#count)}/${this.#count} ${names}`;
    this.#options.output.write(CLEAR_LINE + (line.length > PROGRESS_WIDTH ? `${line.slice(0, PROGRESS_WIDTH - 3)}...` : line));
  }
}

/** Models, not versions. */
function countOf(models: readonly ModelTableRow[], state: string): number {
  return new Set(models.filter((model) => model.state === state).map(({ name }) => name)).size;
}

/** `x FP32[-1,64], y INT64[]`. */
export function describeTensors(tensors: readonly TensorSummary[]): string {
  return tensors.map(({ name, datatype, shape }) => `${name} ${datatype}[${shape.join(',')}]`).join(', ');
}

const headings: readonly string[] = ['model', 'version', 'state', 'backend', 'host', 'max batch', 'inputs -> outputs'];
const MAX_CELL = 60;
const MAX_LAST_CELL = 120;

/** The start-up table, ending in a line break. Where it is wider than `columns`, the last cell of each row stands below it. */
export function modelTable(models: readonly ModelTableRow[], isColoured: boolean, columns: number = Number.POSITIVE_INFINITY): string {
  if (models.length === 0) return 'no models\n';
  const rows = models.slice(0, MAX_ROWS).map((model) => {
    const isReady = model.state === 'READY';
    const cells = [
      model.name,
      model.version,
      model.state,
      model.backend,
      isReady ? model.host : '',
      isReady ? String(model.maxBatchSize) : '',
    ];
    const last = isReady ? `${model.inputs} -> ${model.outputs}` : model.reason.replaceAll(/\s*\n\s*/g, '; ');
    return [...cells.map((text) => cell(text, MAX_CELL)), cell(last, MAX_LAST_CELL)];
  });
  const table = [[...headings], ...rows];
  const widths = headings.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const isNarrow = widths.reduce((sum, width) => sum + width + 2, -2) > columns;
  const lines = table.map((row, index) => {
    const padded = row.map((text, column) => (column === row.length - 1 ? text : text.padEnd(widths[column]!)));
    if (isNarrow) padded.push(`\n  ${padded.pop()!}`);
    if (isColoured && index > 0) padded[2] = `\u001b[${colourOf(row[2]!)}m${padded[2]!}\u001b[39m`;
    return padded.join('  ').replaceAll(/ +$/gm, '');
  });
  if (models.length > MAX_ROWS) lines.push(`and ${models.length - MAX_ROWS} more`);
  return `${lines.join('\n')}\n`;
}

/** Green, red, or yellow. */
function colourOf(state: string): number {
  if (state === 'READY') return 32;
  return NOT_ASKED_FOR.includes(state) ? 33 : 31;
}

function cell(text: string, limit: number): string {
  const shown = visibleText(text);
  return shown.length > limit ? `${shown.slice(0, limit - 3)}...` : shown;
}

function urlLines(models: readonly ModelTableRow[], urls: ServerUrls): string {
  const lines: string[] = [];
  if (urls.http !== null) lines.push(`HTTP       ${urls.http}/v2`);
  if (urls.webSocket !== null) lines.push(`WebSocket  ${urls.webSocket}`);
  if (urls.grpc !== null) lines.push(`gRPC       ${urls.grpc}`);
  if (urls.metrics !== null) lines.push(`metrics    ${urls.metrics}`);
  if (urls.http !== null) {
    const examples = examplesOf(models, urls.http);
    if (examples.length > 0) lines.push('', 'try:', ...examples.map((example) => `  ${example}`));
  }
  return `${lines.join('\n')}\n`;
}

/** A request of zeros means something to it. */
function isEasy({ exampleInputs }: ModelTableRow): boolean {
  return exampleInputs?.every(({ datatype }) => datatype !== 'BYTES') === true;
}

/** What to do first: an inference, and a call to a model of texts. */
function examplesOf(models: readonly ModelTableRow[], url: string): string[] {
  const texts = models.find(({ state, exampleCall }) => state === 'READY' && exampleCall !== undefined);
  const inference = exampleOf(
    models.filter(({ exampleCall }) => exampleCall === undefined),
    url,
  );
  const { path, body } = texts?.exampleCall ?? { path: '', body: {} };
  const call = texts === undefined ? null : `curl -sN ${quoted(url + path)} -d ${quoted(JSON.stringify(body))}`;
  return [inference, call].filter((example) => example !== null);
}

/** An inference; where nothing serves yet, what brings a model in. null: there is no model that could serve. */
function exampleOf(models: readonly ModelTableRow[], url: string): string | null {
  const allReady = models.filter(({ state }) => state === 'READY');
  const ready = allReady.find(isEasy) ?? allReady.find(({ exampleInputs }) => exampleInputs !== undefined) ?? allReady[0];
  if (ready !== undefined) return exampleRequest(url, ready);
  const waiting = models.find(({ state }) => NOT_ASKED_FOR.includes(state));
  if (waiting === undefined) return null;
  // Its tensors are not known: the metadata has them, and loads it.
  if (waiting.state === 'on demand') return exampleRequest(url, waiting);
  return `curl -s -X POST ${quoted(`${url}/v2/repository/models/${encodeURIComponent(waiting.name)}/load`)}`;
}

/** A command line that asks the model for an inference of zeros, or for its metadata where that would be long. */
export function exampleRequest(url: string, model: ModelTableRow): string {
  const path = `${url}/v2/models/${encodeURIComponent(model.name)}`;
  const inputs = model.exampleInputs?.map(({ name, datatype, shape }) => {
    const sized = shape.map((dimension) => (dimension < 0 ? 1 : dimension));
    const count = sized.reduce((product, dimension) => product * dimension, 1);
    return { name, datatype, shape: sized, count };
  });
  if (inputs === undefined || inputs.reduce((sum, { count }) => sum + count, 0) > MAX_EXAMPLE_ELEMENTS) return `curl -s ${quoted(path)}`;
  const body = {
    inputs: inputs.map(({ name, datatype, shape, count }) => ({
      name,
      datatype,
      shape,
      data: new Array(count).fill(exampleElement(datatype)),
    })),
  };
  return `curl -s ${quoted(`${path}/infer`)} -d ${quoted(JSON.stringify(body))}`;
}

function exampleElement(datatype: string): string | number | boolean {
  if (datatype === 'BYTES') return 'text';
  return datatype === 'BOOL' ? false : 0;
}

/** One word for a POSIX shell. */
function quoted(text: string): string {
  return /^[\w./:%@-]+$/.test(text) ? text : `'${visibleText(text).replaceAll("'", "'\\''")}'`;
}
