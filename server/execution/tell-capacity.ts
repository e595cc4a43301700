/** @hotpath remembers which instances have room again, and tells them once everything that was answered is settled (measured by instance-channel.bench.ts) */

/** An instance of a process host. */
export interface CapacityHearer {
  /** Already in a list of those to be told. */
  isToBeTold: boolean;
  tellCapacity(): void;
}

/** Two lists that change places: whoever asks again while being told is told the next time, not in an endless round. */
export class TellCapacity {
  #waiting: CapacityHearer[] = [];
  #telling: CapacityHearer[] = [];

  add(channel: CapacityHearer): void {
    if (channel.isToBeTold) return;
    channel.isToBeTold = true;
    this.#waiting.push(channel);
  }

  run(): void {
    const telling = this.#waiting;
    if (telling.length === 0) return;
    this.#waiting = this.#telling;
    this.#telling = telling;
    for (let i = 0; i < telling.length; i++) telling[i]!.tellCapacity();
    telling.length = 0;
  }
}
