/** A scenario that is no rotation of contenders, and has a table of its own. */
export interface OwnTable {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  run(options: OwnTableOptions): Promise<string[]>;
}

export interface OwnTableOptions {
  /** Measured of each row, seconds; null: as the scenario says. */
  readonly seconds: number | null;
  readonly warmUpSeconds: number;
  readonly rounds: number;
  readonly requests: number;
  readonly onProgress: (text: string) => void;
}
