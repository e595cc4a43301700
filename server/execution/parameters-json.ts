/** Request parameters on their way to a host: JSON of `[parameters]`, with the numbers that JSON lacks by name beside them. */

type Parameters = Readonly<Record<string, string | number | boolean>>;

const none: Parameters = Object.freeze({});
const noBytes = new Uint8Array(0);

/** Nothing for no parameters, which is the usual case. */
export function encodeParameters(parameters: Parameters): Uint8Array {
  for (const _ in parameters) return encode(parameters);
  return noBytes;
}

export function parseParameters(bytes: Buffer): Parameters {
  if (bytes.length === 0) return none;
  const [parameters, odd] = JSON.parse(bytes.toString('utf8')) as [Record<string, string | number | boolean>, Record<string, string>?];
  for (const name in odd) parameters[name] = Number(odd[name]);
  return parameters;
}

function encode(parameters: Parameters): Uint8Array {
  const odd = Object.entries(parameters).filter(([, value]) => typeof value === 'number' && !Number.isFinite(value));
  const parts = odd.length === 0 ? [parameters] : [parameters, Object.fromEntries(odd.map(([name, value]) => [name, String(value)]))];
  return Buffer.from(JSON.stringify(parts), 'utf8');
}
