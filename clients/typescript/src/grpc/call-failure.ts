import { status as Status, type StatusObject } from '@grpc/grpc-js';
import type { StatusCode } from '../../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../../proto/status-forms.ts';
import { CallError, type CallPhase } from '../call-error.ts';

const CODES = new Map<number, StatusCode>();
for (const [code, form] of Object.entries(STATUS_FORMS)) CODES.set(form.grpc, code as StatusCode);

/** Statuses of gRPC that are no codes of ours. */
const OTHERS: Readonly<Record<number, StatusCode>> = {
  [Status.FAILED_PRECONDITION]: 'INVALID_ARGUMENT',
  [Status.OUT_OF_RANGE]: 'INVALID_ARGUMENT',
  [Status.ABORTED]: 'UNAVAILABLE',
  [Status.DATA_LOSS]: 'INTERNAL',
};

/** How grpc-js words a stream that the server's HTTP/2 layer sent back unseen. */
const REFUSED_STREAM = 'Stream refused by server';
/** And what happened to a stream whose headers had come; trailers of a server may have no metadata then. */
const BROKEN = /^(?:Connection dropped|Call cancelled|Received RST_STREAM with code|Deadline exceeded after|(?:read|write) E[A-Z]+)/;

/** What became of a call, beside its status. */
export interface CallProgress {
  /** A connection was there, and the request went into it. */
  readonly isSent: boolean;
  /** Headers of an answer came before its end. */
  readonly hasHeaders: boolean;
  readonly hasMessage: boolean;
}

/**
 * The error of a call that ended with a status other than OK. grpc-js reports what it made itself and what a server sent in one form; a server's has metadata, if only a
 * content-type.
 */
export function callFailure(status: StatusObject, progress: CallProgress): CallError {
  const { code, details, metadata } = status;
  const retryAfterSeconds = retryAfter(metadata.get('retry-after')[0]);
  const isServers = progress.isSent && (progress.hasHeaders ? !BROKEN.test(details) : Object.keys(metadata.getMap()).length > 0);
  const name = CODES.get(code) ?? OTHERS[code] ?? 'UNKNOWN';
  return new CallError(
    name,
    details === '' ? `the server answered gRPC status ${code} (${Status[code] ?? 'unknown'}) without saying why` : details,
    {
      phase: phaseOf(code, details, isServers, retryAfterSeconds > 0, progress),
      status: isServers ? code : 0,
      retryAfterSeconds,
    },
  );
}

function phaseOf(code: number, details: string, isServers: boolean, saysWhen: boolean, progress: CallProgress): CallPhase {
  if (!progress.isSent) return 'refused';
  if (progress.hasMessage || progress.hasHeaders) return 'answered';
  if (!isServers) return details === REFUSED_STREAM ? 'refused' : 'sent';
  return code === Status.UNAVAILABLE || (code === Status.RESOURCE_EXHAUSTED && saysWhen) ? 'refused' : 'answered';
}

/** Seconds, as the metadata has them; 0 for none. */
function retryAfter(value: string | Buffer | undefined): number {
  const seconds = Number(value ?? 0);
  return seconds > 0 && Number.isFinite(seconds) ? seconds : 0;
}
