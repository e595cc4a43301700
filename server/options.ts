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
  readonly modelControlMode: 'none' | 'poll' | 'explicit';
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

  readonly allowGrpc: boolean;
  readonly grpcAddress: string;
  readonly grpcPort: number;

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
    kind: choiceKind('none', 'poll', 'explicit'),
    default: 'none',
    doc: 'none: the models found at start are served until the end. poll and explicit are not supported yet.',
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

  allowGrpc: {
    flag: 'allow-grpc',
    group: 'gRPC',
    kind: switchKind,
    default: false,
    doc: 'Serve the inference protocol over gRPC. Not supported yet.',
  },
  grpcAddress: {
    flag: 'grpc-address',
    group: 'gRPC',
    kind: textKind('ADDRESS'),
    default: { text: 'that of --http-address', from: (options) => options.httpAddress },
    doc: 'Address for gRPC; read, and unused for now.',
  },
  grpcPort: { flag: 'grpc-port', group: 'gRPC', kind: port, default: 8001, doc: 'Port for gRPC; read, and unused for now.' },

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
    doc: 'An execution that takes longer ends its host process, which is replaced.',
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

function parseBackendSetting(text: string): BackendSetting {
  const match = /^(?:([^,=]*),)?([^,=]+)=(.*)$/s.exec(text);
  if (match === null || match[1] === '') throw expected('[<backend>,]<setting>=<value>', text);
  return Object.freeze({ backend: match[1] ?? '', setting: match[2]!, value: match[3]! });
}

function showMetricsConfig(config: MetricsConfig): string {
  const { counterLatencies, histogramLatencies, summaryLatencies, stageHistograms } = config;
  return `counter_latencies=${counterLatencies}, histogram_latencies=${histogramLatencies}, summary_latencies=${summaryLatencies}, stage_histograms=${stageHistograms}`;
}
