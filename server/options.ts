import type { LogLevel } from './log.ts';
import { defaultMetricsConfig, type MetricsConfig, parseMetricsConfig } from './metrics/metrics-config.ts';
import {
  bytesKind,
  choiceKind,
  expected,
  integerKind,
  listKind,
  type OptionKind,
  optionalTextKind,
  switchKind,
  textKind,
  verbosityKind,
} from './option-kind.ts';

/** One `--backend-config [<backend>,]<setting>=<value>`. */
export interface BackendSetting {
  /** '' for every backend. */
  readonly backend: string;
  readonly setting: string;
  readonly value: string;
}

/** Everything that can be chosen, complete and frozen. What each means is said once, in {@link serverOptions}. */
export interface ServerOptions {
  readonly modelRepository: readonly string[];
  readonly modelFile: string | null;
  readonly modelControlMode: 'none' | 'explicit';
  readonly loadModel: readonly string[];
  readonly exitOnError: boolean;
  readonly strictReadiness: boolean;
  readonly disableAutoCompleteConfig: boolean;
  readonly defaultMaxBatchSize: number;
  readonly backendConfig: readonly BackendSetting[];

  readonly allowHttp: boolean;
  readonly httpAddress: string;
  readonly httpPort: number;
  readonly httpEngine: 'auto' | 'uws' | 'node';
  readonly httpMaxInputSize: number;
  readonly httpMaxBufferedBytes: number;
  readonly httpMaxHeaderBytes: number;
  readonly httpMaxConnections: number;
  readonly httpHeaderTimeoutMs: number;
  readonly httpRequestTimeoutMs: number;
  readonly httpKeepaliveTimeoutMs: number;
  readonly httpTlsCert: string | null;
  readonly httpTlsKey: string | null;
  readonly httpTlsCa: string | null;
  readonly httpAllowOrigin: readonly string[];
  readonly allowWebsocket: boolean;
  readonly websocketMaxInflightRequests: number;
  readonly websocketMaxUnsentBytes: number;
  readonly websocketIdleTimeoutMs: number;

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

  readonly allowMetrics: boolean;
  readonly metricsAddress: string;
  readonly metricsPort: number;
  readonly metricsConfig: MetricsConfig;
  readonly metricsIntervalMs: number;
  readonly allowCpuMetrics: boolean;

  readonly executionHost: 'process' | 'inline';
  readonly executionTimeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly hostMemoryBytes: number;
  readonly tensorMemoryBytes: number;
  readonly maxInflightRequests: number;
  readonly maxQueueSize: number;

  readonly logLevel: LogLevel;
  readonly logFormat: 'auto' | 'json' | 'pretty' | 'default' | 'ISO8601';
  readonly logFile: string | null;
  readonly logVerbose: number;
  readonly logInfo: boolean;
  readonly logWarning: boolean;
  readonly logError: boolean;

  readonly id: string;
  readonly exitTimeoutSecs: number;
  readonly configFile: string | null;
}

export type OptionGroup = 'Models' | 'HTTP' | 'gRPC' | 'Metrics' | 'Execution' | 'Log' | 'Server';

export interface OptionDeclaration<T> {
  /** Without the dashes; also the key in a configuration file, and, in capitals behind NEREID_, the environment's name. */
  readonly flag: string;
  readonly group: OptionGroup;
  readonly kind: OptionKind<T>;
  /** A function where it depends on other options; those it reads come earlier in the table. */
  readonly default: T | DerivedDefault<T>;
  /** A sentence, for the help and the documentation. */
  readonly doc: string;
  /** Other spellings: tritonserver's, where it differs. */
  readonly aliases?: readonly string[];
}

export interface DerivedDefault<T> {
  /** As the help shows it. */
  readonly text: string;
  from(options: ServerOptions): T;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

const port: OptionKind<number> = integerKind('PORT', 0, 65_535);
/** setTimeout holds no more. */
const MAX_MS = 2 ** 31 - 1;
const milliseconds: OptionKind<number> = integerKind('MS', 1, MAX_MS);

const controlModeKind: OptionKind<'none' | 'explicit'> = {
  ...choiceKind('none', 'explicit'),
  parse: (texts) => {
    if (texts.at(-1)?.toLowerCase() === 'poll') throw new Error('poll is not supported yet; use explicit, or none');
    return choiceKind('none', 'explicit').parse(texts);
  },
};

/** The one declaration of each option, in the order of the help. */
export const serverOptions: { readonly [Name in keyof ServerOptions]: OptionDeclaration<ServerOptions[Name]> } = {
  modelRepository: {
    flag: 'model-repository',
    aliases: ['model-store'],
    group: 'Models',
    kind: listKind<readonly string[]>('DIR', (texts) => texts.map((text) => textKind('DIR').parse([text]))),
    default: [],
    doc: 'Directory of models: <name>/config.pbtxt and <name>/<version>/model.onnx. May be given several times.',
  },
  modelFile: {
    flag: 'model-file',
    group: 'Models',
    kind: optionalTextKind('MODEL.onnx'),
    default: null,
    doc: 'One ONNX file to serve, no repository needed. The same as naming it without a flag.',
  },
  modelControlMode: {
    flag: 'model-control-mode',
    group: 'Models',
    kind: controlModeKind,
    default: 'none',
    doc: 'none: the models found at start are served until the end. explicit: those of --load-model at start, and then what clients load and unload. poll is not supported yet.',
  },
  loadModel: {
    flag: 'load-model',
    group: 'Models',
    kind: listKind<readonly string[]>('MODEL', (texts) => texts.map((text) => textKind('MODEL').parse([text]))),
    default: [],
    doc: 'Model to load at start, with --model-control-mode explicit; * for all. May be given several times.',
  },
  exitOnError: {
    flag: 'exit-on-error',
    group: 'Models',
    kind: switchKind,
    default: false,
    doc: 'End with an error when a model fails to load at start. Otherwise it is UNAVAILABLE and the others are served.',
  },
  strictReadiness: {
    flag: 'strict-readiness',
    group: 'Models',
    kind: switchKind,
    default: true,
    doc: 'The server is ready only when every model is; false: as soon as it can answer.',
  },
  disableAutoCompleteConfig: {
    flag: 'disable-auto-complete-config',
    aliases: ['strict-model-config'],
    group: 'Models',
    kind: switchKind,
    default: false,
    doc: 'Take nothing from the model file that its configuration leaves out.',
  },
  defaultMaxBatchSize: {
    flag: 'default-max-batch-size',
    group: 'Models',
    kind: integerKind('COUNT', 0, 2 ** 31 - 1),
    default: 4,
    doc: 'Batch size of a model that can batch and whose configuration does not say; 0: none is batched.',
  },
  backendConfig: {
    flag: 'backend-config',
    group: 'Models',
    kind: listKind<readonly BackendSetting[]>('[BACKEND,]SETTING=VALUE', (texts) => texts.map(parseBackendSetting)),
    default: [],
    doc: "A backend's own setting; without the backend, one for all. May be given several times.",
  },

  allowHttp: {
    flag: 'allow-http',
    group: 'HTTP',
    kind: switchKind,
    default: true,
    doc: 'Serve the inference protocol over HTTP.',
  },
  httpAddress: {
    flag: 'http-address',
    group: 'HTTP',
    kind: textKind('ADDRESS'),
    default: '127.0.0.1',
    doc: 'Address to listen on. 0.0.0.0 or :: is every address of the machine: anyone who reaches it can call the models.',
  },
  httpPort: { flag: 'http-port', group: 'HTTP', kind: port, default: 8000, doc: 'Port to listen on; 0: any free one.' },
  httpEngine: {
    flag: 'http-engine',
    group: 'HTTP',
    kind: choiceKind('auto', 'uws', 'node'),
    default: 'auto',
    doc: 'uws needs the optional package uWebSockets.js; auto takes it where it loads, and node elsewhere.',
  },
  httpMaxInputSize: {
    flag: 'http-max-input-size',
    group: 'HTTP',
    kind: bytesKind(1),
    default: 64 * MIB,
    doc: 'Largest request body, before and after decompression.',
  },
  httpMaxBufferedBytes: {
    flag: 'http-max-buffered-bytes',
    group: 'HTTP',
    kind: bytesKind(1),
    default: { text: '512MiB, or --http-max-input-size if that is more', from: (options) => Math.max(512 * MIB, options.httpMaxInputSize) },
    doc: 'All request bodies held at one time. Requests beyond it are answered 503.',
  },
  httpMaxHeaderBytes: {
    flag: 'http-max-header-bytes',
    group: 'HTTP',
    kind: bytesKind(KIB),
    default: 16 * KIB,
    doc: 'Largest block of request headers.',
  },
  httpMaxConnections: {
    flag: 'http-max-connections',
    group: 'HTTP',
    kind: integerKind('COUNT', 1),
    default: 10_000,
    doc: 'Connections open at one time.',
  },
  httpHeaderTimeoutMs: {
    flag: 'http-header-timeout-ms',
    group: 'HTTP',
    kind: milliseconds,
    default: 10_000,
    doc: "Time for a request's headers to arrive.",
  },
  httpRequestTimeoutMs: {
    flag: 'http-request-timeout-ms',
    group: 'HTTP',
    kind: milliseconds,
    default: 120_000,
    doc: 'Time for a whole request to arrive.',
  },
  httpKeepaliveTimeoutMs: {
    flag: 'http-keepalive-timeout-ms',
    group: 'HTTP',
    kind: milliseconds,
    default: 75_000,
    doc: 'Time that a connection may stay without a request.',
  },
  httpTlsCert: {
    flag: 'http-tls-cert',
    group: 'HTTP',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Certificate (PEM): HTTPS instead of HTTP. Needs --http-tls-key.',
  },
  httpTlsKey: {
    flag: 'http-tls-key',
    group: 'HTTP',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Private key of the certificate (PEM).',
  },
  httpTlsCa: {
    flag: 'http-tls-ca',
    group: 'HTTP',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'Authorities (PEM) one of which must have signed the certificate that a client then has to show.',
  },
  httpAllowOrigin: {
    flag: 'http-allow-origin',
    group: 'HTTP',
    kind: listKind<readonly string[]>('ORIGIN', (texts) => texts.map(parseOrigin)),
    default: [],
    doc: 'Origin whose pages may call from a browser, over HTTP (CORS) and WebSocket, as in https://app.example.com; * for any. May be given several times.',
  },
  allowWebsocket: {
    flag: 'allow-websocket',
    group: 'HTTP',
    kind: switchKind,
    default: true,
    doc: 'Serve inference over WebSocket at /v2/ws of the HTTP port.',
  },
  websocketMaxInflightRequests: {
    flag: 'websocket-max-inflight-requests',
    group: 'HTTP',
    kind: integerKind('COUNT', 1, 65_536),
    default: 256,
    doc: 'Requests that one WebSocket connection may have unanswered at one time.',
  },
  websocketMaxUnsentBytes: {
    flag: 'websocket-max-unsent-bytes',
    group: 'HTTP',
    kind: bytesKind(64 * KIB),
    default: 64 * MIB,
    doc: 'Answers that may wait for a WebSocket client that does not read; past it the connection is closed.',
  },
  websocketIdleTimeoutMs: {
    flag: 'websocket-idle-timeout-ms',
    group: 'HTTP',
    kind: integerKind('MS', 8_000, 960_000),
    default: 120_000,
    doc: 'A WebSocket client from which nothing came for this long, answers to pings included, is taken to be gone.',
  },

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

  allowMetrics: {
    flag: 'allow-metrics',
    group: 'Metrics',
    kind: switchKind,
    default: true,
    doc: 'Serve metrics for Prometheus at /metrics.',
  },
  metricsAddress: {
    flag: 'metrics-address',
    group: 'Metrics',
    kind: textKind('ADDRESS'),
    default: { text: 'that of --http-address', from: (options) => options.httpAddress },
    doc: 'Address to listen on for metrics.',
  },
  metricsPort: { flag: 'metrics-port', group: 'Metrics', kind: port, default: 8002, doc: 'Port for metrics; 0: any free one.' },
  metricsConfig: {
    flag: 'metrics-config',
    group: 'Metrics',
    kind: listKind<MetricsConfig>('SETTING=VALUE', parseMetricsConfig, showMetricsConfig),
    default: defaultMetricsConfig,
    doc: 'counter_latencies, histogram_latencies, summary_latencies or stage_histograms=true|false; summary_quantiles=<quantile>:<error>,... May be given several times.',
  },
  metricsIntervalMs: {
    flag: 'metrics-interval-ms',
    group: 'Metrics',
    kind: milliseconds,
    default: 2_000,
    doc: 'How often the machine and the event loop are sampled.',
  },
  allowCpuMetrics: {
    flag: 'allow-cpu-metrics',
    group: 'Metrics',
    kind: switchKind,
    default: true,
    doc: 'Processor and memory of the machine among the metrics.',
  },

  executionHost: {
    flag: 'execution-host',
    group: 'Execution',
    kind: choiceKind('process', 'inline'),
    default: 'process',
    doc: 'Where models run: in processes of their own, or on the loop that reads sockets (only for trusted models of a few microseconds).',
  },
  executionTimeoutMs: {
    flag: 'execution-timeout-ms',
    group: 'Execution',
    kind: milliseconds,
    default: 30_000,
    doc: 'An execution that takes longer ends its host process, which is replaced. For a decoupled model: a request that brings no response for as long while its caller takes them is ended.',
  },
  loadTimeoutMs: {
    flag: 'load-timeout-ms',
    group: 'Execution',
    kind: milliseconds,
    default: 120_000,
    doc: 'A model that takes longer to load has failed.',
  },
  hostMemoryBytes: {
    flag: 'host-memory-bytes',
    group: 'Execution',
    kind: bytesKind(0),
    default: 0,
    doc: 'Memory that a host process may use before it is replaced; 0: no limit.',
  },
  tensorMemoryBytes: {
    flag: 'tensor-memory-bytes',
    group: 'Execution',
    kind: bytesKind(MIB),
    default: GIB,
    doc: 'Shared memory for the tensors of each host. Address space: memory is taken as it is used.',
  },
  maxInflightRequests: {
    flag: 'max-inflight-requests',
    group: 'Execution',
    kind: integerKind('COUNT', 1),
    default: 8_192,
    doc: 'Inference requests in the server at one time. Those beyond it are answered 503.',
  },
  maxQueueSize: {
    flag: 'max-queue-size',
    group: 'Execution',
    kind: integerKind('COUNT', 1),
    default: 4_096,
    doc: 'Requests that may wait for one model whose configuration sets no max_queue_size.',
  },

  logLevel: {
    flag: 'log-level',
    group: 'Log',
    kind: choiceKind('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    doc: 'Least severe level to log. Each request is a line at debug.',
  },
  logFormat: {
    flag: 'log-format',
    group: 'Log',
    kind: choiceKind('auto', 'json', 'pretty', 'default', 'ISO8601'),
    default: 'auto',
    doc: "auto: for people where the log goes to a terminal, JSON lines elsewhere. tritonserver's default and ISO8601 mean auto.",
  },
  logFile: {
    flag: 'log-file',
    group: 'Log',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: 'File to append the log to, instead of stderr.',
  },
  logVerbose: {
    flag: 'log-verbose',
    group: 'Log',
    kind: verbosityKind,
    default: 0,
    doc: '1 logs debug lines, 2 and more trace lines; 0 leaves it to --log-level.',
  },
  logInfo: { flag: 'log-info', group: 'Log', kind: switchKind, default: true, doc: 'Log lines of level info.' },
  logWarning: { flag: 'log-warning', group: 'Log', kind: switchKind, default: true, doc: 'Log lines of level warn.' },
  logError: { flag: 'log-error', group: 'Log', kind: switchKind, default: true, doc: 'Log lines of level error.' },

  id: { flag: 'id', group: 'Server', kind: textKind('NAME'), default: 'nereid', doc: 'Name of this server in its metadata.' },
  exitTimeoutSecs: {
    flag: 'exit-timeout-secs',
    group: 'Server',
    kind: integerKind('SECONDS', 0, 86_400),
    default: 30,
    doc: 'How long requests may take to finish after SIGTERM or SIGINT.',
  },
  configFile: {
    flag: 'config-file',
    group: 'Server',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: "Options as a YAML or JSON object whose keys are the flags' names. Flags and environment win over it.",
  },
};

/** As browsers send it: scheme, host and port, nothing behind. */
function parseOrigin(text: string): string {
  if (text === '*') return text;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.origin === 'null' || url.origin !== text.replace(/\/$/, '').toLowerCase()) {
    throw expected('an origin such as https://app.example.com or http://localhost:5173 (no path), or *', text);
  }
  return url.origin;
}

function parseBackendSetting(text: string): BackendSetting {
  const match = /^(?:([^,=]*),)?([^,=]+)=(.*)$/s.exec(text);
  if (match === null || match[1] === '') throw expected('[<backend>,]<setting>=<value>', text);
  return Object.freeze({ backend: match[1] ?? '', setting: match[2]!, value: match[3]! });
}

function showMetricsConfig(config: MetricsConfig): string {
  const { counterLatencies, histogramLatencies, summaryLatencies, stageHistograms } = config;
  return `counter_latencies=${counterLatencies}, histogram_latencies=${histogramLatencies}, summary_latencies=${summaryLatencies}, stage_histograms=${stageHistograms}`;
}
