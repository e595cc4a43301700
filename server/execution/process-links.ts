import { CallDesk } from './call-desk.ts';
import { DecoupledLink } from './decoupled-link.ts';
import type { CallerState } from './host-calls.ts';
import type { BatchLink, HostLink, HostLinkOwner } from './host-link.ts';
import type { ProcessHostOptions } from './host-options.ts';
import { RequestLink } from './request-link.ts';
import type { SharedMemory } from './shared-memory.ts';
import { SharedMemoryLink } from './shared-memory-link.ts';
import { SocketLink } from './socket-link.ts';

/** The way to a host, by what it is for: exactly one of `batches`, `decoupled` and `code` is there, and is `link`. */
export interface ProcessLinks {
  readonly link: HostLink;
  readonly batches: BatchLink | null;
  readonly decoupled: DecoupledLink | null;
  readonly code: RequestLink | null;
  /** Null: the host runs no models' own code. */
  readonly desk: CallDesk | null;
}

/** `memory` null: by the socket. `callerKey`: the model of a host that runs code. */
export function createLinks(
  options: ProcessHostOptions,
  memory: SharedMemory | null,
  owner: HostLinkOwner,
  callerKey: () => string,
): ProcessLinks {
  const { memoryBytes, runsCode, isDecoupled, calls, pollUs } = options;
  if (!runsCode) {
    if (isDecoupled) {
      const decoupled = new DecoupledLink(memoryBytes, owner);
      return { link: decoupled, batches: null, decoupled, code: null, desk: null };
    }
    const batches = memory === null ? new SocketLink(memoryBytes, owner) : new SharedMemoryLink(memory, pollUs, owner);
    return { link: batches, batches, decoupled: null, code: null, desk: null };
  }
  const callerOf = (execution: number, index: number): CallerState | null => link.callerOf(execution, index);
  const desk = new CallDesk({ callerKey, calls, memoryBytes, callerOf, sendFrame: (frame) => owner.sendFrame([frame]) });
  const onEnded = (sequence: number, index = -1): void => desk.cancelOf(sequence, index);
  const decoupled = isDecoupled ? new DecoupledLink(memoryBytes, owner, onEnded) : null;
  const code = isDecoupled ? null : new RequestLink(memoryBytes, owner, onEnded);
  const link = (decoupled ?? code)!;
  return { link, batches: null, decoupled, code, desk };
}
