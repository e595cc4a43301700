/**
 * What lies where in the memory that a gateway and a host share:
 *
 *   0      words, a cache line each
 *   4096   submit ring: gateway to host, entries [region offset / 64, sequence]
 *   ...    completion ring: host to gateway, the same entries
 *   ...    the arena: regions, each an execution's record, its inputs and the room for its outputs
 */

import { DescriptorRing } from './descriptor-ring.ts';

/** Indexes of 32-bit words. */
/** What the host does now: a futex word. */
export const HOST_STATE = 0;
/** The gateway has written a control frame that the host should look for. */
export const CONTROL_PENDING = 16;
/** 1: the gateway waits for a byte on the wake pipe. Whoever writes the byte sets it to 0 first. */
export const GATEWAY_SLEEPS = 32;
/** The instance that is being executed; 0: none. Tells after a death whose batch it was. */
export const CURRENT_INSTANCE = 48;

/** The host looks at its ring by itself. */
export const HOST_RUNS = 0;
/** It waits on HOST_STATE: set it to HOST_RUNS, then wake the futex. */
export const HOST_SLEEPS = 1;
/** It waits in its event loop: set HOST_STATE to HOST_RUNS, then send a wake frame (any other frame will do as well). */
export const HOST_PARKED = 2;

export const RING_CAPACITY = 1024;
export const RING_ENTRY_WORDS = 2;
/** Regions start on tensor boundaries; their offsets are handed over in these units so that 32 bits are enough. */
export const REGION_UNIT = 64;

const WORDS_BYTES = 4096;
const PAGE_BYTES = 4096;
const ringBytes: number = DescriptorRing.byteLength(RING_CAPACITY, RING_ENTRY_WORDS);

export const SUBMIT_RING_OFFSET: number = WORDS_BYTES;
export const COMPLETION_RING_OFFSET: number = SUBMIT_RING_OFFSET + ringBytes;
export const ARENA_OFFSET: number = Math.ceil((COMPLETION_RING_OFFSET + ringBytes) / PAGE_BYTES) * PAGE_BYTES;
