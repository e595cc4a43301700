/** The flags of `nereid bench`: what --help prints, and what `parseArgs` reads. One list, so that neither has what the other lacks (bench-options.test.ts). */

export const benchUsage = `nereid bench MODEL [options]
nereid bench compare A.json B.json        two or more results of --json, with intervals

Loads a V2 inference server (Nereid, Triton, MLServer, OpenVINO Model Server) or an OpenAI endpoint, and says what it did.

  nereid bench simple                                     1, 4 and 16 requests at a time
  nereid bench simple --protocol grpc --concurrency 1:64:x2 --html report.html
  nereid bench simple --rate 500:2000:500 --distribution poisson --deadline 20
  nereid bench tiny_llm --protocol openai --concurrency 4 --max-tokens 64

The server
  --url URL                   http(s)://, grpc(s)://, ws(s):// or host:port (default 127.0.0.1:8000; gRPC 127.0.0.1:8001)
  --protocol NAME             http-json, http-binary (default), grpc, grpc-stream, websocket-json, websocket-binary, generate,
                              generate-stream, openai
  --model-version V           default: the server chooses
  --header NAME:VALUE         sent with every request; may be given several times
  --ca, --cert, --key FILE    PEM, for TLS
  --insecure                  take any certificate
  --server-pid PID            its process, for processor time and memory (default: found, when it runs on this machine)
  --metrics-url URL           its Prometheus metrics (default: port 8002, for a server on 8000 or 8001)

The load
  --concurrency LIST          requests in flight: 16, 1,4,16, 1:16, 1:64:x2 (default 1,4,16)
  --rate LIST                 requests a second, sent when their time has come: 500, 100:1000:100
  --distribution NAME         of --rate: fixed (default) or poisson
  --deadline MS               goodput counts answers within it; the server is told
  --timeout MS                a request without an answer for as long has failed (default 30000)
  --sequence-length N|N:M     requests go in sequences of so many
  --connections N             sockets at the most (default: as many as the load needs, up to 1024)
  --max-in-flight N           of --rate: requests beyond it are counted as unsent (default 4096)
  --processes N               load processes (default 1)
  --sockets NAME              auto (default), native or node

What is sent
  --input WHAT                random (default), zero, a file or a directory (docs/bench.md has the forms)
  --batch-size N              rows of a request (default 1)
  --shape NAME:D1,D2          of an input with variable dimensions, without the batch; may be given several times
  --requests-distinct N       different requests that are made, taken in turn (default 16)
  --string-length N           of random BYTES elements (default 16)
  --parameter NAME:VALUE      a request parameter, such as priority:1; may be given several times
  --output NAME               only this output; may be given several times
  --seed N                    of everything random (default 1)

Text (generate, generate-stream, openai)
  --endpoint NAME             chat (default), completions or embeddings
  --prompt-tokens N           mean length of a prompt, about (default 128)
  --prompt-spread N           standard deviation of it (default 0)
  --shared-prefix N           tokens that all prompts begin with (default 0)
  --prompts FILE              text lines, or JSON lines with prompt or messages
  --max-tokens N              of an answer (default 64)
  --no-stream                 the answer in one piece
  --first-token-limit MS      goodput counts answers whose first token comes within it
  --per-token-limit MS        and whose other tokens take so long in the mean

The measurement
  --window MS                 length of a window (default 1000)
  --warm-up-max S             go on though it is not stable (default 15)
  --min-windows N             windows measured at the least (default 5)
  --time-max S                of a point, warm-up not counted (default 30)
  --precision PERCENT         half-width of the 95 % interval that is enough (default 5)
  --percentile P              the latency that has to be as precise: 50, 90, 95, 99 (default), 99.9
  --validate N                look at every Nth answer as a whole; 0: at none (default 100)
  --deterministic             the same request must always have the same answer
  --quick                     one short run by autocannon (HTTP only)

The result
  --json FILE                 everything, for nereid bench compare
  --csv FILE                  a line for each point
  --html FILE                 one page with plots
  --quiet                     nothing but the table

Ends with 0, with 1 when the generator was saturated or answers failed or were wrong, with 2 for wrong arguments.
`;

export const benchFlags = {
  url: { type: 'string' },
  protocol: { type: 'string' },
  'model-version': { type: 'string' },
  header: { type: 'string', multiple: true },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  insecure: { type: 'boolean' },
  'server-pid': { type: 'string' },
  'metrics-url': { type: 'string' },
  concurrency: { type: 'string' },
  rate: { type: 'string' },
  distribution: { type: 'string' },
  deadline: { type: 'string' },
  timeout: { type: 'string' },
  'sequence-length': { type: 'string' },
  connections: { type: 'string' },
  'max-in-flight': { type: 'string' },
  processes: { type: 'string' },
  sockets: { type: 'string' },
  input: { type: 'string' },
  'batch-size': { type: 'string' },
  shape: { type: 'string', multiple: true },
  'requests-distinct': { type: 'string' },
  'string-length': { type: 'string' },
  parameter: { type: 'string', multiple: true },
  output: { type: 'string', multiple: true },
  seed: { type: 'string' },
  endpoint: { type: 'string' },
  'prompt-tokens': { type: 'string' },
  'prompt-spread': { type: 'string' },
  'shared-prefix': { type: 'string' },
  prompts: { type: 'string' },
  'max-tokens': { type: 'string' },
  'no-stream': { type: 'boolean' },
  'first-token-limit': { type: 'string' },
  'per-token-limit': { type: 'string' },
  window: { type: 'string' },
  'warm-up-max': { type: 'string' },
  'min-windows': { type: 'string' },
  'time-max': { type: 'string' },
  precision: { type: 'string' },
  percentile: { type: 'string' },
  validate: { type: 'string' },
  deterministic: { type: 'boolean' },
  quick: { type: 'boolean' },
  json: { type: 'string' },
  csv: { type: 'string' },
  html: { type: 'string' },
  quiet: { type: 'boolean' },
} as const;
