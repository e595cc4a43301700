/** The flags of `nereid tune`: what --help prints, and what `parseArgs` reads. */

export const tuneUsage = `nereid tune MODEL [options]

Finds the configuration that serves a model best on this machine. Starts a server of its own on free ports, loads the model with one configuration after the other (nothing in the repository is
touched), measures each, and compares the best ones with the present one in turn until the difference is beyond doubt. Without such a difference the model stays as it is.
Options of the server come from the environment (NEREID_..., as for nereid serve). Ctrl-C ends it with what is known so far.

  nereid tune digits --latency 5
  nereid tune digits --rate 800 --input requests.jsonl --html tune.html
  nereid tune resnet --shape image:3,224,224 --instances 1,2 --threads 1,2,4 --budget 15 --write

The goal
  --objective NAME            throughput (default): the most answers a second within the limits; latency: the lowest latency under the
                              highest --concurrency, or with --rate
  --latency MS                limit of the latency; 0: none (default: with several levels of --concurrency, 4 times what the present
                              configuration takes under the lowest)
  --percentile P              of the latency: 50, 90, 95, 99 (default), 99.9
  --memory-max MIB            limit of the server's memory with this model alone
  --budget MINUTES            of time (default 5)

What is tried
  --max-batch LIST            max_batch_size (default: the present one and larger ones, as far as there are requests to fill them)
  --delay LIST                dynamic_batching.max_queue_delay_microseconds (default 0,100,500,2000)
  --instances LIST            instance_group.count (default: powers of two, up to --cores)
  --threads LIST              threads of an instance (default: powers of two, up to --cores)
  --hosts LIST                process (default), inline: where models run. It is a flag of the whole server, --execution-host, and inline
                              is for models that are trusted and small
  --cores N                   instances times threads, at the most (default: those of this machine)
  The present values are always among them.

The load
  --protocol NAME             as for nereid bench (default http-binary)
  --concurrency LIST          requests in flight (default 1,4,16,64; 16 for --objective latency)
  --rate N                    an open loop in its place: so many requests a second
  --distribution NAME         of --rate: fixed (default) or poisson
  --sequence-length N|N:M     requests go in sequences of so many
  --input, --batch-size, --shape, --requests-distinct, --string-length, --parameter, --output, --seed
  --endpoint, --prompt-tokens, --prompt-spread, --shared-prefix, --prompts, --max-tokens, --no-stream
  --connections, --processes, --sockets, --timeout, --max-in-flight, --validate
                              as for nereid bench
  --window MS                 length of a window at the least (default 400)

The model
  --model-repository DIR      default model-repository

The result
  --json FILE                 everything
  --html FILE                 one page with a plot of all that was tried
  --write                     put what was found into the model's configuration, after showing the change
  --yes                       without asking

Ends with 0; with 1 when nothing kept the limits, or the measurement cannot be trusted; with 2 for wrong arguments; with 130 after Ctrl-C.
`;

/** Those that mean what they mean for `nereid bench`. */
export const sharedFlags = {
  protocol: { type: 'string' },
  concurrency: { type: 'string' },
  rate: { type: 'string' },
  distribution: { type: 'string' },
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
  percentile: { type: 'string' },
  validate: { type: 'string' },
} as const;

export const tuneFlags = {
  ...sharedFlags,
  'model-repository': { type: 'string' },
  objective: { type: 'string' },
  latency: { type: 'string' },
  'memory-max': { type: 'string' },
  budget: { type: 'string' },
  'max-batch': { type: 'string' },
  delay: { type: 'string' },
  instances: { type: 'string' },
  threads: { type: 'string' },
  hosts: { type: 'string' },
  cores: { type: 'string' },
  window: { type: 'string' },
  json: { type: 'string' },
  html: { type: 'string' },
  write: { type: 'boolean' },
  yes: { type: 'boolean' },
} as const;
