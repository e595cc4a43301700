/** A client's SETTINGS frame. Source: RFC 9113, section 6.5 */

import * as h2 from '../../../../proto/http2-frames.ts';
import { Http2Fault } from './http2-fault.ts';

const ENTRY_BYTES = 6;

/** What this side has a use for; the last one counts where one is said twice. Untold: as it was. */
export interface PeerSettings {
  initialWindow: number;
  maxFrameBytes: number;
  /** The least that the frame says. */
  headerTableBytes: number;
}

/** Throws Http2Fault. */
export function readSettings(bytes: Buffer, from: number, to: number, into: PeerSettings): void {
  if ((to - from) % ENTRY_BYTES !== 0) throw new Http2Fault(h2.FRAME_SIZE_ERROR, `a SETTINGS frame of ${to - from} bytes`);
  for (let at = from; at < to; at += ENTRY_BYTES) {
    const name = (bytes[at]! << 8) | bytes[at + 1]!;
    const value = h2.uint32At(bytes, at + 2);
    switch (name) {
      case h2.SETTINGS_HEADER_TABLE_SIZE:
        into.headerTableBytes = Math.min(into.headerTableBytes, value);
        break;
      case h2.SETTINGS_ENABLE_PUSH:
        if (value > 1) throw new Http2Fault(h2.PROTOCOL_ERROR, `SETTINGS_ENABLE_PUSH of ${value}: it is 0 or 1`);
        break;
      case h2.SETTINGS_INITIAL_WINDOW_SIZE:
        if (value > h2.MAX_WINDOW_BYTES) throw new Http2Fault(h2.FLOW_CONTROL_ERROR, `SETTINGS_INITIAL_WINDOW_SIZE of ${value} bytes`);
        into.initialWindow = value;
        break;
      case h2.SETTINGS_MAX_FRAME_SIZE:
        if (value < h2.DEFAULT_FRAME_BYTES || value > h2.MAX_FRAME_BYTES) {
          throw new Http2Fault(h2.PROTOCOL_ERROR, `SETTINGS_MAX_FRAME_SIZE of ${value} bytes`);
        }
        into.maxFrameBytes = value;
        break;
      // Others ask nothing of a server that pushes nothing, and new ones are to be passed over.
    }
  }
}
