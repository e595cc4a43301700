import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { didYouMean } from '../../proto/nearest-name.ts';
import { UsageError } from '../usage-error.ts';
import type { ServerOptions } from './index.ts';
import { modelNameOf } from './model-file-name.ts';

/** What one option says of another, and of the files that are there. Throws UsageError. */
export function checkOptions(options: ServerOptions, warnings: string[]): void {
  checkModels(options);
  checkLifecycle(options);
  if (!options.allowHttp && !options.allowGrpc)
    throw new UsageError('--allow-http false and --allow-grpc false leave no way to call the models');
  if (options.httpMaxBufferedBytes < options.httpMaxInputSize) {
    const sizes = `${options.httpMaxBufferedBytes} is less than --http-max-input-size ${options.httpMaxInputSize}`;
    throw new UsageError(`--http-max-buffered-bytes ${sizes}: a largest body would never fit`);
  }
  checkScheduling(options, warnings);
  checkTls(options);
  checkGrpcTls(options, warnings);
  checkPorts(options);
  warnAboutWideBinds(options, warnings);
}

function checkModels({ modelRepository, modelFiles }: ServerOptions): void {
  if (modelFiles.length === 0 && modelRepository.length === 0) {
    throw new UsageError('no models: name a directory with --model-repository DIR, or a file: nereid serve MODEL.onnx, or MODEL.gguf');
  }
  if (modelFiles.length > 0 && modelRepository.length > 0) throw new UsageError('either --model-repository or model files, not both');
  for (const [index, modelFile] of modelFiles.entries()) {
    const name = modelNameOf(modelFile);
    const other = modelFiles.slice(0, index).find((one) => modelNameOf(one) === name);
    if (other !== undefined)
      throw new UsageError(
        `model files '${other}' and '${modelFile}' would both be the model '${name}': rename one, or give --model-repository`,
      );
    const stat = statSync(modelFile, { throwIfNoEntry: false });
    if (stat === undefined) throw new UsageError(`model file '${modelFile}' is not there${nearestSibling(modelFile)}`);
    if (!stat.isFile()) throw new UsageError(`model file '${modelFile}' is not a file`);
  }
  for (const directory of modelRepository) {
    const stat = statSync(directory, { throwIfNoEntry: false });
    if (stat === undefined) throw new UsageError(`--model-repository '${directory}' is not there${nearestSibling(directory)}`);
    if (!stat.isDirectory()) throw new UsageError(`--model-repository '${directory}' is not a directory`);
  }
}

function checkLifecycle(options: ServerOptions): void {
  const { modelControlMode, loadModel, loadOnDemand } = options;
  if (loadModel.length > 0 && modelControlMode !== 'explicit') {
    throw new UsageError('--load-model needs --model-control-mode explicit; otherwise every model of the repository is loaded');
  }
  if (loadModel.length > 1 && loadModel.includes('*')) throw new UsageError('--load-model * means all models: give it alone');
  if (options.modelFiles.length > 0 && modelControlMode === 'poll') {
    throw new UsageError('--model-control-mode poll follows a directory of models: give --model-repository, not model files');
  }
  if (!loadOnDemand && options.modelMemoryBudget > 0) {
    throw new UsageError(
      '--model-memory-budget needs --load-on-demand: a model that is unloaded is loaded again by the next request for it',
    );
  }
  if (!loadOnDemand && options.idleUnloadSecs > 0) {
    throw new UsageError('--idle-unload-secs needs --load-on-demand: a model that is unloaded is loaded again by the next request for it');
  }
  if (options.recordRequests > 0 && options.recordRequestsDir === null)
    throw new UsageError('--record-requests needs --record-requests-dir');
  if (options.recordRequests === 0 && options.recordRequestsDir !== null)
    throw new UsageError('--record-requests-dir needs --record-requests');
}

function checkScheduling(options: ServerOptions, warnings: string[]): void {
  if (options.cacheConfig !== null && options.responseCacheByteSize > 0) {
    throw new UsageError('--response-cache-byte-size and --cache-config both say where responses are kept: give --cache-config alone');
  }
  if (options.rateLimit === 'off' && options.rateLimitResource.length > 0)
    warnings.push('--rate-limit-resource has no effect without --rate-limit execution_count');
}

function nearestSibling(path: string): string {
  const absolute = resolve(path);
  try {
    return didYouMean(basename(absolute), readdirSync(dirname(absolute)));
  } catch {
    return `; nor is the directory '${dirname(absolute)}'`;
  }
}

function checkTls({ httpTlsCert, httpTlsKey, httpTlsCa }: ServerOptions): void {
  if (httpTlsCert !== null && httpTlsKey === null) throw new UsageError('--http-tls-cert needs --http-tls-key');
  if (httpTlsKey !== null && httpTlsCert === null) throw new UsageError('--http-tls-key needs --http-tls-cert');
  if (httpTlsCa !== null && httpTlsCert === null) throw new UsageError('--http-tls-ca needs --http-tls-cert and --http-tls-key');
}

function checkGrpcTls(options: ServerOptions, warnings: string[]): void {
  const { grpcUseSsl, grpcUseSslMutual, grpcTlsCert, grpcTlsKey, grpcTlsCa } = options;
  if (grpcTlsCert !== null && grpcTlsKey === null) throw new UsageError('--grpc-tls-cert needs --grpc-tls-key');
  if (grpcTlsKey !== null && grpcTlsCert === null) throw new UsageError('--grpc-tls-key needs --grpc-tls-cert');
  if ((grpcUseSsl || grpcUseSslMutual) && grpcTlsCert === null) {
    throw new UsageError(`--grpc-use-ssl${grpcUseSsl ? '' : '-mutual'} needs --grpc-tls-cert and --grpc-tls-key`);
  }
  if (grpcUseSslMutual && grpcTlsCa === null) throw new UsageError('--grpc-use-ssl-mutual needs --grpc-tls-ca');
  if (!grpcUseSsl && grpcTlsCert !== null) {
    if (grpcUseSslMutual) throw new UsageError('--grpc-use-ssl-mutual needs --grpc-use-ssl');
    warnings.push('--grpc-use-ssl false: the certificate is not used, gRPC is served without TLS');
  }
  if (grpcTlsCa !== null && !grpcUseSslMutual) warnings.push('--grpc-use-ssl-mutual false: no gRPC client is asked for a certificate');
}

interface Listener {
  readonly flag: string;
  readonly isOn: boolean;
  readonly address: string;
  readonly port: number;
}

function checkPorts(options: ServerOptions): void {
  const listeners: Listener[] = [
    { flag: '--http-port', isOn: options.allowHttp, address: options.httpAddress, port: options.httpPort },
    { flag: '--grpc-port', isOn: options.allowGrpc, address: options.grpcAddress, port: options.grpcPort },
    { flag: '--metrics-port', isOn: options.allowMetrics, address: options.metricsAddress, port: options.metricsPort },
  ].filter(({ isOn, port }) => isOn && port !== 0);
  for (const [index, one] of listeners.entries()) {
    for (const other of listeners.slice(index + 1)) {
      if (one.port !== other.port) continue;
      if (one.address !== other.address && !isWildcard(one.address) && !isWildcard(other.address)) continue;
      throw new UsageError(`${one.flag} and ${other.flag} are both ${one.port}: each needs a port of its own`);
    }
  }
}

function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::' || address === '[::]';
}

function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || address === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(address);
}

function warnAboutWideBinds(options: ServerOptions, warnings: string[]): void {
  const warn = (flag: string, address: string, hasTls: boolean, hasClientCertificates: boolean): void => {
    if (isLoopback(address) || (hasTls && hasClientCertificates)) return;
    warnings.push(`${flag} ${address} opens the models to other machines without ${hasTls ? 'authentication' : 'TLS or authentication'}`);
  };
  if (options.allowHttp) warn('--http-address', options.httpAddress, options.httpTlsCert !== null, options.httpTlsCa !== null);
  if (options.allowGrpc) warn('--grpc-address', options.grpcAddress, options.grpcUseSsl, options.grpcUseSslMutual);
  if (options.httpAllowOrigin.includes('*'))
    warnings.push('--http-allow-origin * lets the pages of every site call the models from a browser');
  if (options.allowMetrics && !isLoopback(options.metricsAddress)) {
    warnings.push(`--metrics-address ${options.metricsAddress} shows the metrics, model names among them, to other machines`);
  }
}
