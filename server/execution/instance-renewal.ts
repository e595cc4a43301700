import type { InstanceHandle } from './execution-host.ts';

/**
 * What the model's side does when its instances are made anew after it was loaded: in the replacement of a host that died, in another host that it moves or spreads to, or because there are to be more
 * of them.
 */
export interface InstanceRenewal {
  /** Before the model's file is opened again. Rejects when that is not what was loaded at first: then it is not loaded. */
  beforeLoad(): Promise<void>;
  /** Before the new instances get requests, so that they can be warmed up. Must not reject. */
  beforeService(channels: readonly InstanceHandle[]): Promise<void>;
}
