import type { HttpOptions } from './http.ts';
import type { OptionTable } from './option-declaration.ts';
import { bytesKind, choiceKind, integerKind, optionalTextKind, switchKind, textKind } from './option-kind.ts';
import { GIB, KIB, MAX_MS, milliseconds, port } from './option-units.ts';

export interface GrpcOptions {
  readonly allowGrpc: boolean;
  readonly grpcAddress: string;
  readonly grpcPort: number;
  readonly grpcMaxReceiveBytes: number;
  readonly grpcMaxSendBytes: number;
  readonly grpcMaxMetadataBytes: number;
  readonly grpcMaxConnections: number;
  readonly grpcMaxConcurrentCalls: number;
  readonly grpcTlsCert: string | null;
  readonly grpcTlsKey: string | null;
  readonly grpcTlsCa: string | null;
  readonly grpcUseSsl: boolean;
  readonly grpcUseSslMutual: boolean;
  readonly grpcCompression: 'none' | 'low' | 'medium' | 'high';
  readonly grpcKeepaliveTimeMs: number;
  readonly grpcKeepaliveTimeoutMs: number;
  readonly grpcMaxConnectionAgeMs: number;
  readonly grpcMaxConnectionAgeGraceMs: number;
}

export const grpcOptions: OptionTable<GrpcOptions, HttpOptions & GrpcOptions> = {
  allowGrpc: {
    flag: 'allow-grpc',
    group: 'gRPC',
    kind: switchKind,
    default: true,
    doc: 'Serve the inference protocol over gRPC.',
  },
  grpcAddress: {
    flag: 'grpc-address',
    group: 'gRPC',
    kind: textKind('ADDRESS'),
    default: { text: 'that of --http-address', from: (options) => options.httpAddress },
    doc: 'Address to listen on for gRPC.',
  },
  grpcPort: { flag: 'grpc-port', group: 'gRPC', kind: port, default: 8001, doc: 'Port to listen on for gRPC; 0: any free one.' },
  grpcMaxReceiveBytes: {
    flag: 'grpc-max-receive-bytes',
    group: 'gRPC',
    kind: bytesKind(KIB),
    default: { text: 'that of --http-max-input-size', from: (options) => options.httpMaxInputSize },
    doc: 'Largest request message, before and after decompression.',
  },
  grpcMaxSendBytes: {
    flag: 'grpc-max-send-bytes',
    group: 'gRPC',
    kind: bytesKind(KIB),
    default: 2 * GIB - 1,
    doc: 'Largest response message.',
  },
  grpcMaxMetadataBytes: {
    flag: 'grpc-max-metadata-bytes',
    group: 'gRPC',
    kind: bytesKind(KIB),
    default: 16 * KIB,
    doc: 'Largest metadata (headers) of a call.',
  },
  grpcMaxConnections: {
    flag: 'grpc-max-connections',
    group: 'gRPC',
    kind: integerKind('COUNT', 1),
    default: 10_000,
    doc: 'gRPC connections open at one time.',
  },
  grpcMaxConcurrentCalls: {
    flag: 'grpc-max-concurrent-calls',
    group: 'gRPC',
    kind: integerKind('COUNT', 1, 2 ** 31 - 1),
    default: 1_024,
    doc: 'Calls open at one time on one connection; a stream is one call.',
  },
  grpcTlsCert: {
    flag: 'grpc-tls-cert',
    aliases: ['grpc-server-cert'],
    group: 'gRPC',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Certificate (PEM) for gRPC over TLS. Needs --grpc-tls-key.',
  },
  grpcTlsKey: {
    flag: 'grpc-tls-key',
    aliases: ['grpc-server-key'],
    group: 'gRPC',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Private key of the certificate (PEM).',
  },
  grpcTlsCa: {
    flag: 'grpc-tls-ca',
    aliases: ['grpc-root-cert'],
    group: 'gRPC',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: "Authorities (PEM) for clients' certificates; see --grpc-use-ssl-mutual.",
  },
  grpcUseSsl: {
    flag: 'grpc-use-ssl',
    group: 'gRPC',
    kind: switchKind,
    default: { text: 'true where --grpc-tls-cert is given', from: (options) => options.grpcTlsCert !== null },
    doc: 'gRPC over TLS.',
  },
  grpcUseSslMutual: {
    flag: 'grpc-use-ssl-mutual',
    group: 'gRPC',
    kind: switchKind,
    default: { text: 'true where --grpc-tls-ca is given', from: (options) => options.grpcTlsCa !== null },
    doc: 'A gRPC client must show a certificate that one of the authorities signed.',
  },
  grpcCompression: {
    flag: 'grpc-infer-response-compression-level',
    group: 'gRPC',
    kind: choiceKind('none', 'low', 'medium', 'high'),
    default: 'none',
    doc: 'Compress inference responses for clients that accept it; low, medium and high all mean gzip.',
  },
  grpcKeepaliveTimeMs: {
    flag: 'grpc-keepalive-time',
    group: 'gRPC',
    kind: milliseconds,
    default: 7_200_000,
    doc: 'Silence after which the server pings a gRPC client, ms.',
  },
  grpcKeepaliveTimeoutMs: {
    flag: 'grpc-keepalive-timeout',
    group: 'gRPC',
    kind: milliseconds,
    default: 20_000,
    doc: 'A ping that is not answered for this long ends the connection, ms.',
  },
  grpcMaxConnectionAgeMs: {
    flag: 'grpc-max-connection-age',
    group: 'gRPC',
    kind: integerKind('MS', 0, MAX_MS),
    default: 0,
    doc: 'Age at which a gRPC connection is asked to end, so that clients spread over new servers, ms; 0: none.',
  },
  grpcMaxConnectionAgeGraceMs: {
    flag: 'grpc-max-connection-age-grace',
    group: 'gRPC',
    kind: integerKind('MS', 0, MAX_MS),
    default: 0,
    doc: 'Time that the calls of such a connection get to finish, ms; 0: as long as they take.',
  },
};
