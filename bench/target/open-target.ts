import { createSecureContext } from 'node:tls';
import { CallError } from '../../clients/typescript/src/call-error.ts';
import type { ServerMetadata } from '../../clients/typescript/src/server-facts.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { LoadTarget, LoadTls, WireProtocol } from '../load/load-plan.ts';
import { type ControlCalls, isAnswer } from './control-calls.ts';
import { explainUnreachable, otherProtocolThere, wrongScheme } from './explain-unreachable.ts';
import { findModel, unknownModel } from './find-model.ts';
import { GrpcControlCalls } from './grpc-control-calls.ts';
import { HttpControlCalls } from './http-control-calls.ts';
import { ownAddresses } from './own-addresses.ts';
import { isGrpc, parseTargetUrl, targetUrl } from './parse-target-url.ts';
import { openServerUse } from './server-use.ts';
import { sumStatistics } from './statistics.ts';
import type { Target, TargetModel } from './target.ts';

export interface OpenTargetOptions {
  /** 'host:port' or a URL with http(s), grpc(s), ws(s) and perhaps a base path; '': 127.0.0.1:8000, or :8001 for gRPC. */
  readonly url: string;
  readonly protocol: WireProtocol;
  readonly model: string;
  /** '': as the server chooses. */
  readonly version: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: LoadTls | null;
  /** null: found, when it runs on this machine. */
  readonly serverPid: number | null;
  /** null: Triton's port of the same host, if it answers. */
  readonly metricsUrl: string | null;
  /** Of each control call. */
  readonly timeoutMs: number;
}

export interface OpenedTarget {
  readonly target: Target;
  /** null: the protocol is OpenAI's, which describes no tensors. */
  readonly model: TargetModel | null;
}

const CERTIFICATE_PEM = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/;
const NO_METADATA: ServerMetadata = { name: '', version: '', extensions: [] };

/**
 * Asks the server who it is and what the model looks like. Throws an InferenceError that says what is in the way: nobody listens, the port of another protocol, no V2 server, a model that
 * is not there (with the nearest name) or not ready, a missing credential.
 */
export async function openTarget(options: OpenTargetOptions): Promise<OpenedTarget> {
  const { protocol, model: name, version, timeoutMs } = options;
  const load = parseTargetUrl(options);
  if (load.tls !== null) checkCertificates(load.tls);
  const calls = isGrpc(protocol) ? new GrpcControlCalls(load, timeoutMs) : new HttpControlCalls(load, timeoutMs);
  const heard = await greet(calls, load, protocol);
  const model = protocol === 'openai' ? null : await findOrExplain(calls, load, options, heard.error);
  if (protocol === 'openai') await findOpenAiModel(new HttpControlCalls(load, timeoutMs), name, heard.error);
  const addresses = await ownAddresses(load.host);
  const use = await openServerUse(load, addresses, options);
  const { name: serverName, version: serverVersion } = heard.metadata;
  const target: Target = {
    facts: { url: targetUrl(load, protocol), name: serverName, version: serverVersion },
    load,
    isLocal: addresses.length > 0,
    statistics: async () => {
      // A server of OpenAI's API that is no V2 server has no statistics to ask for.
      if (heard.error !== null && protocol === 'openai') return null;
      return sumStatistics((await calls.statistics(name, version)) ?? []);
    },
    use,
    // Each call has a connection of its own, which is closed with it.
    close: () => Promise.resolve(),
  };
  return { target, model };
}

/** `error`: it answers, and not as a V2 server does; it may still serve the model, behind a gateway that has no path for the server itself. */
async function greet(
  calls: ControlCalls,
  load: LoadTarget,
  protocol: WireProtocol,
): Promise<{ metadata: ServerMetadata; error: InferenceError | null }> {
  try {
    return { metadata: await calls.serverMetadata(), error: null };
  } catch (error) {
    if (!isAnswer(error)) throw error instanceof InferenceError ? await explainUnreachable(load, protocol, error) : error;
    if (isForbidden(error)) {
      const other = await otherProtocolThere(load, protocol);
      if (other !== '') throw new InferenceError('UNAVAILABLE', `url: ${other}`, { cause: error });
    }
    throwIfForbidden(error);
    // Of our own making, a header for one: what a server answers to the question is never its asker's fault.
    if (error.code === 'INVALID_ARGUMENT' && !(error instanceof CallError)) throw error;
    return { metadata: NO_METADATA, error };
  }
}

async function findOrExplain(
  calls: ControlCalls,
  load: LoadTarget,
  { model: name, version, protocol }: OpenTargetOptions,
  greeting: InferenceError | null,
): Promise<TargetModel> {
  try {
    return await findModel(calls, name, version);
  } catch (error) {
    throwIfForbidden(error);
    throw greeting === null ? error : await notV2(calls, load, protocol, greeting);
  }
}

async function notV2(calls: ControlCalls, load: LoadTarget, protocol: WireProtocol, greeting: InferenceError): Promise<InferenceError> {
  const where = `${load.host}:${load.port}${load.basePath}`;
  const scheme = await wrongScheme(load);
  if (scheme !== '') return new InferenceError('UNAVAILABLE', `url: ${scheme}`);
  const other = await otherProtocolThere(load, protocol);
  if (other !== '') return new InferenceError('UNAVAILABLE', `url: ${other}`);
  const listed = calls instanceof HttpControlCalls ? await calls.openAiModels().catch(() => null) : null;
  const hint = listed === null ? 'is the path of the URL right?' : "it has OpenAI's API: give --protocol openai";
  return new InferenceError('UNIMPLEMENTED', `url: ${where} answers, but not as a V2 inference server (${greeting.message}): ${hint}`);
}

/** Servers that do not list models are taken at their word when the load comes. */
async function findOpenAiModel(calls: HttpControlCalls, name: string, greeting: InferenceError | null): Promise<void> {
  const names = await calls.openAiModels();
  if (names !== null && !names.includes(name)) throw unknownModel(name, names);
  if (names === null && greeting === null) {
    throw new InferenceError(
      'UNIMPLEMENTED',
      "url: a V2 inference server without OpenAI's API: give --protocol http-binary, or another of the V2 ones",
    );
  }
}

function checkCertificates({ ca, cert, key }: LoadTls): void {
  if ((cert === '') !== (key === ''))
    throw invalidArgument(`tls: expected --cert and --key together, got --${cert === '' ? 'key' : 'cert'} alone`);
  // OpenSSL takes an authority file without any certificate, and trusts nobody then.
  if (ca !== '' && !CERTIFICATE_PEM.test(ca))
    throw invalidArgument('tls: expected a PEM file with a certificate for --ca, got one without');
  try {
    createSecureContext({ ...(ca === '' ? {} : { ca }), ...(cert === '' ? {} : { cert, key }) });
  } catch (error) {
    throw invalidArgument(`tls: expected PEM files for --ca, --cert and --key: ${(error as Error).message}`);
  }
}

function isForbidden(error: unknown): error is InferenceError {
  return error instanceof InferenceError && (error.code === 'UNAUTHENTICATED' || error.code === 'PERMISSION_DENIED');
}

function throwIfForbidden(error: unknown): void {
  if (!isForbidden(error)) return;
  throw new InferenceError(error.code, `the server wants a credential: give it by --header authorization:... (${error.message})`);
}
