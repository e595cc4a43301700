import { setImmediate as nextTurn, setTimeout } from 'node:timers/promises';
import { InferenceError, type StatusCode } from '../proto/inference-error.ts';
import { Admission } from './data-plane/admission.ts';
import { InferenceDoor, type RequestLog } from './data-plane/infer.ts';
import { RequestRecorder } from './data-plane/request-recorder.ts';
import { hasOwnProcess } from './execution/runs-code.ts';
import { systemClock } from './inference/clock.ts';
import { servedShape } from './inference/model-signature.ts';
import type { Logger } from './log.ts';
import { LogLimit } from './log-limit.ts';
import { MetricsRegistry } from './metrics/metrics.ts';
import { openRepository } from './open-repository.ts';
import type { ServerOptions } from './options/index.ts';
import { httpErrorBody } from './protocols/http-error-body.ts';
import { httpProtocols, rpcProtocols, webSocketProtocols } from './protocols/index.ts';
import { encodeRequest } from './protocols/oip-json/encode-request.ts';
import { prometheusRoutes } from './protocols/prometheus/endpoints.ts';
import type { ProtocolContext } from './protocols/protocol.ts';
import type { WebSocketLimits } from './protocols/websocket/endpoints.ts';
import type { Model } from './repository/model.ts';
import type { ModelRepository } from './repository/model-repository.ts';
import { removeOwnOverrides, removeStaleOverrides } from './repository/override/override-directory.ts';
import { describeTensors, type ModelTableRow, type ServerUrls, type StartUpProgress, type TensorSummary } from './start-up-report.ts';
import { textExampleOf } from './text-example.ts';
import { chooseHttpEngine } from './transports/choose-http-engine.ts';
import { startGrpcTransport } from './transports/grpc/grpc-transport.ts';
import type { HttpTransport, HttpTransportOptions } from './transports/http-exchange.ts';
import type { RpcTransport } from './transports/rpc-call.ts';
import { readVersion } from './version.ts';

/** For hosts to release what nobody uses any more, at the end of a drain. */
const RELEASE_LIMIT_MS = 3_000;

export interface RunningServer {
  readonly urls: ServerUrls;
  /** Takes nothing new and finishes what was accepted. Resolves to false when that took longer than `--exit-timeout-secs` and was cut off. */
  drain(): Promise<boolean>;
  /** Cuts off what a drain still waits for. */
  hurry(): void;
}

/**
 * Wires the parts, opens the ports, loads the models. Ports first: a taken one is found out in milliseconds, and `/v2/health/live` answers while models
 * load; inference answers 503 until a model is READY.
 *
 * @throws Error with one line for a person: port taken, certificate unreadable, repository unreadable, a model failed under `--exit-on-error`.
 */
export async function startServer(options: ServerOptions, log: Logger, progress: StartUpProgress): Promise<RunningServer> {
  const version = readVersion();
  log.info({ version, node: process.version, pid: process.pid }, 'starting');
  const metrics = new MetricsRegistry({
    config: options.metricsConfig,
    intervalMs: options.metricsIntervalMs,
    cpuMetrics: options.allowCpuMetrics,
    serverVersion: version,
  });
  const onFault = (error: unknown): void => log.error({ err: error }, 'a fault in the server; the request was failed');
  const reportModelFailure = modelFailureLog(log);
  const { pool, repository, responseStore, poll } = openRepository(options, metrics, log, onFault);
  const recorder = openRecorder(options, log);
  const admission = new Admission(options.maxInflightRequests, options.httpMaxBufferedBytes);
  const requests = log.isLevelEnabled('debug') ? requestLog(log) : null;
  const door = new InferenceDoor(repository, admission, systemClock, requests, recorder, onFault);

  let isLoaded = false;
  let isDraining = false;
  const context: ProtocolContext = {
    door,
    repository,
    serverName: options.id,
    serverVersion: version,
    isReady: () => isLoaded && !isDraining && (!options.strictReadiness || repository.isReady),
    isLive: () => !isDraining,
    reportFault: (error) => {
      if (!(error instanceof InferenceError)) onFault(error);
      else if (error.failureReason === 'BACKEND') reportModelFailure(error);
      else if (error.code === 'INTERNAL') onFault(error);
    },
  };

  const transports: (HttpTransport | RpcTransport)[] = [];
  const closeAll = async (): Promise<void> => {
    await Promise.all(transports.map((transport) => transport.close()));
    await poll?.stop();
    await recorder?.stop();
    await pool.stop();
    await responseStore?.close();
    await metrics.close();
  };
  try {
    const http = options.allowHttp ? await openHttp(options, log, context) : null;
    if (http !== null) transports.push(http);
    const grpc = options.allowGrpc ? await openGrpc(options, context) : null;
    if (grpc !== null) transports.push(grpc);
    const page = options.allowMetrics ? await openMetrics(options, context, metrics) : null;
    if (page !== null) transports.push(page);
    const scheme = options.httpTlsCert === null ? 'http' : 'https';
    const httpHost = http === null ? null : `${hostForUrl(options.httpAddress)}:${http.port}`;
    const urls: ServerUrls = {
      http: httpHost === null ? null : `${scheme}://${httpHost}`,
      webSocket: httpHost === null || !options.allowWebsocket ? null : `${scheme.replace('http', 'ws')}://${httpHost}/v2/ws`,
      grpc: grpc === null ? null : `${options.grpcUseSsl ? 'grpcs' : 'grpc'}://${hostForUrl(options.grpcAddress)}:${grpc.port}`,
      metrics: page === null ? null : `http://${hostForUrl(options.metricsAddress)}:${page.port}/metrics`,
    };
    // The hosts load models meanwhile; the first scrape would wait for it otherwise.
    if (options.allowMetrics) await metrics.preload();
    await removeStaleOverrides();
    await repository.loadAll({
      started: (total) => progress.modelsFound(total),
      loading: (name, modelVersion) => progress.modelLoading(name, String(modelVersion)),
      loaded: (name, modelVersion, error) => {
        if (error !== null) log.error({ model: name, version: modelVersion, reason: error.message }, 'model is UNAVAILABLE');
        progress.modelEnded(name, String(modelVersion), error === null ? 'READY' : 'UNAVAILABLE', error?.message ?? '');
      },
    });
    pool.putInService();
    await poll?.start();
    if (repository.index(false).length === 0) {
      log.warn(
        { repositories: options.modelRepository },
        'no models: a repository has a directory for each, as in <repository>/<model>/1/model.onnx, or model.gguf',
      );
    }
    isLoaded = true;
    const failed = repository.index(false).filter((entry) => entry.state === 'UNAVAILABLE');
    if (failed.length > 0 && options.exitOnError) {
      throw new Error(`${failed.length} model(s) failed to load (--exit-on-error): ${failed.map((entry) => entry.name).join(', ')}`);
    }
    progress.serving(modelTable(repository, options), urls);

    const drained = once(async () => {
      isDraining = true;
      admission.drain();
      repository.stopLoads();
      // The metrics page stays until the end, so that the last counts can still be scraped.
      await Promise.all([http?.drain(), grpc?.drain()]);
      await poll?.stop();
      // Every request is answered by now; a host that does not answer its release is ended with the others.
      const isUnloaded = await Promise.race([repository.stop().then(() => true), setTimeout(RELEASE_LIMIT_MS, false, { ref: false })]);
      if (!isUnloaded) await removeOwnOverrides();
      await closeAll();
    });
    let hurried = (): void => {};
    const cutOff = new Promise<false>((resolve) => {
      hurried = () => resolve(false);
    });
    return {
      urls,
      hurry: () => hurried(),
      drain: async () => {
        const limit = globalThis.setTimeout(hurried, options.exitTimeoutSecs * 1000);
        const isComplete = await Promise.race([drained().then(() => true), cutOff]);
        clearTimeout(limit);
        if (!isComplete) {
          // First, so that what is cut off is answered with an error while there is a connection to say it on.
          await pool.stop();
          await nextTurn();
          await closeAll();
        }
        return isComplete;
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

function openRecorder(options: ServerOptions, log: Logger): RequestRecorder | null {
  const { recordRequests: count, recordRequestsDir: directory } = options;
  if (directory === null) return null;
  return new RequestRecorder({ directory, count, encode: encodeRequest, warn: (message) => log.warn(message) });
}

async function openHttp(options: ServerOptions, log: Logger, context: ProtocolContext): Promise<HttpTransport> {
  const { httpTlsCert: certFile, httpTlsKey: keyFile, httpTlsCa: caFile } = options;
  const tls = certFile === null || keyFile === null ? null : { certFile, keyFile, caFile };
  const { start, sentence } = await chooseHttpEngine(options.httpEngine, tls);
  log.info(sentence);
  return start({
    ...transportLimits(options, context),
    host: options.httpAddress,
    port: options.httpPort,
    routes: httpProtocols(context),
    webSockets: options.allowWebsocket ? webSocketProtocols(context, webSocketLimits(options)) : [],
    allowOrigins: options.httpAllowOrigin,
    tls,
  });
}

/** node:http for the metrics page whatever serves the models: a scrape every few seconds needs no engine of its own. */
async function openMetrics(options: ServerOptions, context: ProtocolContext, metrics: MetricsRegistry): Promise<HttpTransport> {
  const { start } = await chooseHttpEngine('node', null);
  return start({
    ...transportLimits(options, context),
    host: options.metricsAddress,
    port: options.metricsPort,
    routes: prometheusRoutes(metrics, context.reportFault),
    webSockets: [],
    allowOrigins: [],
    tls: null,
  });
}

function webSocketLimits(options: ServerOptions): WebSocketLimits {
  return {
    maxMessageBytes: options.httpMaxInputSize,
    maxInflightRequests: options.websocketMaxInflightRequests,
    maxUnsentBytes: options.websocketMaxUnsentBytes,
    idleTimeoutMs: options.websocketIdleTimeoutMs,
  };
}

function openGrpc(options: ServerOptions, context: ProtocolContext): Promise<RpcTransport> {
  const { grpcTlsCert: certFile, grpcTlsKey: keyFile, grpcTlsCa: caFile } = options;
  const hasTls = options.grpcUseSsl && certFile !== null && keyFile !== null;
  return startGrpcTransport({
    host: options.grpcAddress,
    port: options.grpcPort,
    methods: rpcProtocols(context),
    maxReceiveBytes: options.grpcMaxReceiveBytes,
    maxSendBytes: options.grpcMaxSendBytes,
    maxMetadataBytes: options.grpcMaxMetadataBytes,
    maxConnections: options.grpcMaxConnections,
    maxConcurrentCalls: options.grpcMaxConcurrentCalls,
    compression: options.grpcCompression === 'none' ? 'none' : 'gzip',
    keepaliveTimeMs: options.grpcKeepaliveTimeMs,
    keepaliveTimeoutMs: options.grpcKeepaliveTimeoutMs,
    maxConnectionAgeMs: options.grpcMaxConnectionAgeMs || Number.POSITIVE_INFINITY,
    maxConnectionAgeGraceMs: options.grpcMaxConnectionAgeGraceMs || Number.POSITIVE_INFINITY,
    tls: hasTls ? { certFile, keyFile, caFile, requireClientCertificate: options.grpcUseSslMutual } : null,
    onError: context.reportFault,
  });
}

function transportLimits(
  options: ServerOptions,
  context: ProtocolContext,
): Omit<HttpTransportOptions, 'host' | 'port' | 'routes' | 'webSockets' | 'allowOrigins' | 'tls'> {
  return {
    errorBody: httpErrorBody,
    maxBodyBytes: options.httpMaxInputSize,
    maxBufferedBodyBytes: options.httpMaxBufferedBytes,
    maxHeaderBytes: options.httpMaxHeaderBytes,
    maxConnections: options.httpMaxConnections,
    headersTimeoutMs: options.httpHeaderTimeoutMs,
    requestTimeoutMs: options.httpRequestTimeoutMs,
    keepAliveTimeoutMs: options.httpKeepaliveTimeoutMs,
    onError: context.reportFault,
  };
}

function hostForUrl(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address.includes(':') ? `[${address === '::' ? '::1' : address}]` : address;
}

/** A model says so of what it was sent, or of a client that went away. */
const CLIENTS_DOING: ReadonlySet<StatusCode> = new Set<StatusCode>(['INVALID_ARGUMENT', 'NOT_FOUND', 'CANCELLED']);

/** What a model cannot run is its caller's to hear and the metrics' to count; a caller must not fill the log with it. Of a caller's own mistakes the requests' lines tell, for debugging. */
function modelFailureLog(log: Logger): (error: InferenceError) => void {
  const limit = new LogLimit();
  return (error) => {
    if (CLIENTS_DOING.has(error.code)) return;
    const leftOut = limit.pass(performance.now());
    if (leftOut < 0) return;
    const line = { code: error.code, error: error.message };
    log.warn(leftOut === 0 ? line : { ...line, notLogged: leftOut }, 'a model failed a request');
  };
}

function requestLog(log: Logger): RequestLog {
  return {
    ended: (request, durationNs, error) => {
      const line = { model: request.modelName, id: request.id, batch: request.batchSize, durationUs: Math.round(durationNs / 1000) };
      if (error === null) log.debug(line, 'inference');
      else log.debug({ ...line, code: error.code, error: error.message }, 'inference failed');
    },
    refused: (model, error) => log.debug({ model, code: error.code, error: error.message }, 'inference refused'),
  };
}

function modelTable(repository: ModelRepository, options: ServerOptions): ModelTableRow[] {
  return repository.index(false).map((entry) => {
    const model = repository.readyModels().find((one) => one.name === entry.name && one.version === entry.version);
    const base = {
      name: entry.name,
      version: entry.version ?? '-',
      state: entry.state ?? (options.loadOnDemand ? 'on demand' : 'not loaded'),
      reason: entry.reason ?? '',
    };
    if (model === undefined) return { ...base, backend: '-', host: '-', maxBatchSize: 0, inputs: '', outputs: '' };
    const { signature } = model;
    const summary = (spec: { name: string; datatype: string; dims: readonly number[] }): TensorSummary => ({
      name: spec.name,
      datatype: spec.datatype,
      shape: servedShape(signature, spec.dims),
    });
    const text = textExampleOf(signature);
    const inputs = signature.inputs.filter(({ name }) => text?.inputs.includes(name) !== false).map(summary);
    // Of a model of texts, those that are always there.
    const outputs = signature.outputs.slice(0, text === null ? undefined : 1);
    return {
      ...base,
      backend: model.plan === null ? model.config.backend : 'ensemble',
      host: model.plan === null ? `${model.instanceCount} ${hostKindOf(model, options)}` : '-',
      maxBatchSize: signature.maxBatchSize,
      inputs: describeTensors(inputs),
      outputs: describeTensors(outputs.map(summary)),
      ...(text === null || !options.allowHttp ? {} : { exampleCall: text.call }),
      // A single request over HTTP is what neither of the two takes.
      ...(model.isDecoupled || model.sequencePlan !== null ? {} : { exampleInputs: inputs }),
    };
  });
}

/** Some have processes of their own, whatever the others have. */
function hostKindOf({ config }: Model, { executionHost }: ServerOptions): string {
  return hasOwnProcess(config) ? 'process' : executionHost;
}

/** A function that runs once; later calls get the same promise. */
function once(run: () => Promise<void>): () => Promise<void> {
  let promise: Promise<void> | null = null;
  return () => {
    promise ??= run();
    return promise;
  };
}
