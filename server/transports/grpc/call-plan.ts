/** What the headers of a call come to. */

import type { RpcMethod } from '../rpc-call.ts';

/** Made once for a header block that comes again and again. */
export type CallPlan =
  | { readonly method: RpcMethod /** ms; Infinity: the client set none. */; readonly timeoutMs: number }
  /** The header block of the answer that refuses it. */
  | { readonly method: null; readonly refusal: Buffer };
