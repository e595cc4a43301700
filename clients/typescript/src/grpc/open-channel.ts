import { Channel, type ChannelCredentials, type ChannelOptions, compressionAlgorithms, credentials } from '@grpc/grpc-js';
import { InferenceError, invalidArgument } from '../../../../proto/inference-error.ts';
import type { TlsOptions, TransportOptions } from '../transport.ts';

const DEFAULT_PORT = '8001';
/** Bytes that a server may send ahead on a stream, and on the connection. Of HTTP/2's 64 KiB, one tensor of a few MiB takes dozens of round trips. */
const FLOW_CONTROL_WINDOW = 4 * 1024 * 1024;
/** Finds a peer that is gone without a word while a call waits. Servers of the C++ library, Triton for one, end connections that ping more often than each five minutes. */
const KEEPALIVE_TIME_MS = 6 * 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** A channel to `grpc://host:port` or `grpcs://host:port`; it connects at the first call. Throws INVALID_ARGUMENT for a URL or certificates that cannot work. */
export function openChannel(url: URL, options: TransportOptions): Channel {
  const channelOptions: ChannelOptions = {
    'grpc.max_send_message_length': -1,
    'grpc.max_receive_message_length': -1,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW,
    'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // What may be repeated is the client's to know; nor may a DNS record bring a policy of its own.
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    // While the library waits before it connects again every call fails at once: from 1 s to 2 min, were it left to itself.
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 1_000,
    // One connection for one client, which `close` ends.
    'grpc.use_local_subchannel_pool': 1,
    // As fetch and WebSocket in Node: the environment's http_proxy is not asked.
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
  };
  if (options.compression === 'gzip') channelOptions['grpc.default_compression_algorithm'] = compressionAlgorithms.gzip;
  return new Channel(targetOf(url), credentialsOf(url, options.tls), channelOptions);
}

function targetOf(url: URL): string {
  if (url.hostname === '') throw invalidArgument(`url: expected a host, as in grpc://localhost:${DEFAULT_PORT}, got ${url.href}`);
  if ((url.pathname !== '' && url.pathname !== '/') || url.search !== '' || url.hash !== '') {
    throw invalidArgument(`url: gRPC has no paths: expected ${url.protocol}//host:port, got ${url.href}`);
  }
  return `dns:${url.hostname}:${url.port === '' ? DEFAULT_PORT : url.port}`;
}

function credentialsOf(url: URL, tls: TlsOptions | null): ChannelCredentials {
  if (url.protocol !== 'grpcs:') {
    if (tls !== null) throw invalidArgument(`tls: expected a grpcs:// URL with it, got ${url.href}, which is not encrypted`);
    return credentials.createInsecure();
  }
  if (tls === null) return credentials.createSsl();
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    throw invalidArgument(`tls: expected cert and key together, got ${tls.cert === undefined ? 'key' : 'cert'} alone`);
  }
  try {
    return credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert));
  } catch (error) {
    throw new InferenceError('INVALID_ARGUMENT', `tls: expected PEM for ca, cert and key: ${(error as Error).message}`, { cause: error });
  }
}

function pem(text: string | Uint8Array | undefined): Buffer | null {
  return text === undefined ? null : Buffer.from(text);
}
