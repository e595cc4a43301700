import {
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  SETTINGS_MAX_FRAME_SIZE,
} from '../../../proto/http2-frames.ts';
import { ProtocolFault } from './protocol-fault.ts';

const SETTING_BYTES = 6;
const LARGEST_FRAME_BYTES = 2 ** 24 - 1;

/** What the server has said of itself, and HTTP/2's own values for what it has not. Source: RFC 9113, section 6.5.2. */
export class PeerSettings {
  /** -1: not said. */
  headerTableBytes = -1;
  maxConcurrentStreams: number = Number.POSITIVE_INFINITY;
  initialWindowBytes: number = DEFAULT_WINDOW_BYTES;
  maxFrameBytes: number = DEFAULT_FRAME_BYTES;

  /** Takes the payload of a SETTINGS frame; a later one changes what it names. Throws ProtocolFault. */
  read(bytes: Buffer, from: number, to: number): void {
    if ((to - from) % SETTING_BYTES !== 0)
      throw new ProtocolFault(`a SETTINGS frame of ${to - from} bytes, which is no multiple of ${SETTING_BYTES}`);
    for (let at = from; at < to; at += SETTING_BYTES) {
      const value = bytes.readUInt32BE(at + 2);
      switch (bytes.readUInt16BE(at)) {
        case SETTINGS_HEADER_TABLE_SIZE:
          this.headerTableBytes = value;
          break;
        case SETTINGS_MAX_CONCURRENT_STREAMS:
          this.maxConcurrentStreams = value;
          break;
        case SETTINGS_INITIAL_WINDOW_SIZE:
          if (value > MAX_WINDOW_BYTES)
            throw new ProtocolFault(`SETTINGS_INITIAL_WINDOW_SIZE of ${value} bytes, where 2^31 - 1 are the most`);
          this.initialWindowBytes = value;
          break;
        case SETTINGS_MAX_FRAME_SIZE:
          if (value < DEFAULT_FRAME_BYTES || value > LARGEST_FRAME_BYTES)
            throw new ProtocolFault(`SETTINGS_MAX_FRAME_SIZE of ${value} bytes`);
          this.maxFrameBytes = value;
          break;
      }
    }
  }
}
