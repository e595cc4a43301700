import { InferenceError } from '../../proto/inference-error.ts';
import type { LoadTarget, WireProtocol } from '../load/load-plan.ts';
import { addressText } from '../load/resolve-host.ts';
import { callHttp } from './call-http.ts';
import { type FoundServer, findServer, findServers, USUAL_PORTS } from './find-servers.ts';
import { ownAddresses } from './own-addresses.ts';
import { isGrpc } from './parse-target-url.ts';

const PROBE_TIMEOUT_MS = 1000;
/** What TLS says of the other side's certificate. Source: OpenSSL's X509_V_ERR names, as Node has them. */
const CERTIFICATE_ERROR = /CERT|SELF_SIGNED|UNABLE_TO_(?:GET|VERIFY|DECRYPT)|HOSTNAME_MISMATCH/;

/** Why no answer came, and what to do: the server's absence, the wrong port, the wrong scheme. `ports` are looked at for a server that is elsewhere. */
export async function explainUnreachable(
  target: LoadTarget,
  protocol: WireProtocol,
  error: InferenceError,
  ports: typeof USUAL_PORTS = USUAL_PORTS,
): Promise<InferenceError> {
  const where = addressText(target.host, target.port);
  const codes = systemCodesOf(error);
  const failed = (text: string): InferenceError => new InferenceError('UNAVAILABLE', `url: ${text}`, { cause: error });
  if (codes.includes('ENOTFOUND') || codes.includes('EAI_AGAIN')) return failed(`no address is known for the host '${target.host}'`);
  const distrust = codes.find((code) => CERTIFICATE_ERROR.test(code));
  if (distrust !== undefined) {
    return failed(`${where} has a certificate that is not trusted (${distrust}): give its authority by --ca, or --insecure to take any`);
  }
  if (codes.includes('ECONNREFUSED')) return failed(`nothing listens on ${where}${await elsewhere(target, ports)}`);
  const other = await otherProtocolThere(target, protocol);
  if (other !== '') return failed(other);
  const scheme = await wrongScheme(target);
  if (scheme !== '') return failed(scheme);
  return new InferenceError(error.code, `url: ${error.message}`, { cause: error });
}

/** Another protocol's port may answer too: gRPC over TLS does, with 403. '': no such server is there. */
export async function otherProtocolThere(target: LoadTarget, protocol: WireProtocol): Promise<string> {
  const other = await findServer(target, target.port, isGrpc(protocol) ? 'http' : 'grpc');
  return other === null ? '' : wrongPort(addressText(target.host, target.port), protocol, other);
}

/** What is wrong when the server speaks TLS and the URL says otherwise, or the other way round; '': nothing. */
export async function wrongScheme(target: LoadTarget): Promise<string> {
  const where = addressText(target.host, target.port);
  if (target.tls === null) {
    const isSecure = await speaksHttp({ ...target, headers: {}, tls: { ca: '', cert: '', key: '', verify: false } });
    return isSecure ? `${where} speaks TLS: give it as https://, grpcs:// or wss://` : '';
  }
  return (await speaksHttp({ ...target, headers: {}, tls: null }))
    ? `${where} does not speak TLS: give it as http://, grpc:// or ws://`
    : '';
}

/** ECONNREFUSED, ...; of an error that others are wrapped around, theirs too. */
function systemCodesOf(error: InferenceError): readonly string[] {
  const codes: string[] = [];
  let cause: unknown = error.cause;
  for (let depth = 0; typeof cause === 'object' && cause !== null && depth < 8; depth++) {
    const { code, cause: next } = cause as { readonly code?: unknown; readonly cause?: unknown };
    if (typeof code === 'string') codes.push(code);
    cause = next;
  }
  return codes;
}

/** Other people's machines are not searched. */
async function elsewhere(target: LoadTarget, ports: typeof USUAL_PORTS): Promise<string> {
  if ((await ownAddresses(target.host)).length === 0) return '';
  const found = await findServers(target, ports);
  if (found.length === 0) return ', and no V2 server on the usual ports of this machine: is it started?';
  return `; on this machine there is ${found.map(({ name, port, protocol }) => `${name} on port ${port} (${protocol === 'grpc' ? 'gRPC' : 'HTTP'})`).join(', ')}: give it by --url`;
}

function wrongPort(where: string, protocol: WireProtocol, other: FoundServer): string {
  return other.protocol === 'grpc'
    ? `${where} is the gRPC port of ${other.name}: give --protocol grpc, or the HTTP port (8000 by default) for ${protocol}`
    : `${where} is the HTTP port of ${other.name}: give --protocol http-binary, or the gRPC port (8001 by default) for ${protocol}`;
}

async function speaksHttp(target: LoadTarget): Promise<boolean> {
  try {
    // A TLS server that is spoken to in the clear answers 400, if at all.
    return (await callHttp(target, 'GET', '/v2', null, PROBE_TIMEOUT_MS)).status !== 400;
  } catch {
    return false;
  }
}
