/** What a server said of itself and of one request. */
export interface SwapAnswer {
  readonly id: number;
  readonly value: number;
  /** As the response names it. */
  readonly modelVersion: number;
  /** As the model itself computed it. */
  readonly computedBy: number;
}

/** Each line must be 0. */
export interface SwapFaults {
  failed: number;
  lost: number;
  answeredTwice: number;
  wrongValue: number;
  /** Computed by another version than the response names, or by one that was never there. */
  wrongVersion: number;
  /** Sent after the load call of a newer version was answered. */
  olderThanAnnounced: number;
  /** Sent after an answer of a newer version had come. */
  wentBack: number;
}

const MAX_SAMPLES = 5;

/** Every request that was sent, and what became of it. */
export class SwapLedger {
  readonly faults: SwapFaults = {
    failed: 0,
    lost: 0,
    answeredTwice: 0,
    wrongValue: 0,
    wrongVersion: 0,
    olderThanAnnounced: 0,
    wentBack: 0,
  };
  /** The first of the faults, in words. */
  readonly samples: string[] = [];
  readonly versions: Set<number> = new Set();
  #sent = 0;
  #answered = 0;
  /** The newest version that the server said it serves, and the newest that may be on disk. */
  #announced: number;
  #newest: number;
  #newestSeen = 0;
  readonly #open: Map<number, { readonly announced: number; readonly seen: number }> = new Map();

  constructor(version: number) {
    this.#announced = version;
    this.#newest = version;
  }

  get sent(): number {
    return this.#sent;
  }

  get answered(): number {
    return this.#answered;
  }

  /** `version` is about to appear on disk. */
  offer(version: number): void {
    this.#newest = version;
  }

  /** The server says that `version` serves. */
  announce(version: number): void {
    this.#announced = version;
  }

  /** The id, and the value, of a new request. */
  send(): number {
    const id = ++this.#sent;
    this.#open.set(id, { announced: this.#announced, seen: this.#newestSeen });
    return id;
  }

  /** What came for the place that sent `id`. */
  settle(id: number, answer: SwapAnswer | Error): void {
    const open = this.#open.get(id);
    if (open === undefined) {
      this.#fault('answeredTwice', `request ${id} was answered again`);
      return;
    }
    this.#open.delete(id);
    if (answer instanceof Error) {
      this.#fault('failed', `request ${id}: ${answer.message}`);
      return;
    }
    this.#answered++;
    const { modelVersion, computedBy } = answer;
    this.versions.add(modelVersion);
    if (answer.id !== id || answer.value !== id) this.#fault('wrongValue', `request ${id} got id ${answer.id}, value ${answer.value}`);
    if (computedBy !== modelVersion || modelVersion > this.#newest) {
      this.#fault(
        'wrongVersion',
        `request ${id}: said to be of version ${modelVersion}, computed by ${computedBy}, newest ${this.#newest}`,
      );
    }
    if (modelVersion < open.announced) {
      this.#fault('olderThanAnnounced', `request ${id}: version ${modelVersion} after ${open.announced} was announced`);
    }
    if (modelVersion < open.seen) this.#fault('wentBack', `request ${id}: version ${modelVersion} after an answer of ${open.seen}`);
    if (modelVersion > this.#newestSeen) this.#newestSeen = modelVersion;
  }

  /** More than was asked for came from a connection. */
  unasked(what: string): void {
    this.#fault('answeredTwice', what);
  }

  /** Nothing more will come. */
  close(): void {
    for (const id of this.#open.keys()) this.#fault('lost', `request ${id} was never answered`);
    this.#open.clear();
  }

  #fault(kind: keyof SwapFaults, what: string): void {
    this.faults[kind]++;
    if (this.samples.length < MAX_SAMPLES) this.samples.push(what);
  }
}
