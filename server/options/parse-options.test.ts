import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { UsageError } from '../usage-error.ts';
import { type ServerOptions, serverOptions } from './index.ts';
import type { OptionDeclaration } from './option-declaration.ts';
import { updateOptionsPage } from './options-doc.ts';
import { serveHelp } from './options-help.ts';
import { environmentNameOf, parseServeOptions } from './parse-options.ts';
import { tritonserverFlags } from './tritonserver-flags.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-options-'));
const repository = join(folder, 'models');
const model = join(folder, 'digits.onnx');
mkdirSync(repository);
writeFileSync(model, 'x');
afterAll(() => rmSync(folder, { recursive: true }));

const withModels = ['--model-repository', repository];

function parse(argv: readonly string[], env: Record<string, string> = {}): ServerOptions {
  return parseServeOptions(argv, env).options;
}

function messageOf(argv: readonly string[], env: Record<string, string> = {}): string {
  try {
    parseServeOptions(argv, env);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    expect((error as UsageError).exitCode).toBe(1);
    const { message } = error as UsageError;
    expect(message).not.toContain('\n');
    return message;
  }
  throw new Error(`${argv.join(' ')} was accepted`);
}

/** For each option a text that is not its default, what it means, and a text that is refused. */
const samples: {
  readonly [Name in keyof ServerOptions]: { text: string; value: ServerOptions[Name]; bad: string; with?: readonly string[] };
} = {
  modelRepository: { text: repository, value: [repository], bad: '' },
  modelFiles: { text: model, value: [model], bad: '' },
  modelControlMode: { text: 'explicit', value: 'explicit', bad: 'nonne' },
  loadModel: { text: 'simple', value: ['simple'], bad: '', with: ['--model-control-mode=explicit'] },
  exitOnError: { text: 'on', value: true, bad: 'yes' },
  strictReadiness: { text: 'FALSE', value: false, bad: '2' },
  disableAutoCompleteConfig: { text: 'true', value: true, bad: 'x' },
  defaultMaxBatchSize: { text: '8', value: 8, bad: '-1' },
  backendConfig: { text: 'onnxruntime,threads=2', value: [{ backend: 'onnxruntime', setting: 'threads', value: '2' }], bad: 'threads' },
  repositoryPollSecs: { text: '0', value: 0, bad: '-1' },
  repositorySettleMs: { text: '50', value: 50, bad: '1s' },
  modelConfigName: { text: 'small', value: 'small', bad: 'a/b' },
  modelLoadThreadCount: { text: '2', value: 2, bad: '0' },
  modelLoadRetryCount: { text: '3', value: 3, bad: '-1' },
  rollbackKeepSecs: { text: '0', value: 0, bad: '2147484' },
  loadOnDemand: { text: 'true', value: true, bad: 'yes' },
  loadOnDemandTimeoutMs: { text: '500', value: 500, bad: '0' },
  loadOnDemandMaxWaiting: { text: '5', value: 5, bad: '0' },
  modelMemoryBudget: { text: '1GiB', value: 2 ** 30, bad: '1G', with: ['--load-on-demand'] },
  idleUnloadSecs: { text: '60', value: 60, bad: '-1', with: ['--load-on-demand'] },
  allowOutsideLinks: { text: 'on', value: true, bad: 'yes' },
  allowUploadedCode: { text: 'on', value: true, bad: 'yes' },
  maxModelBytes: { text: '1GiB', value: 2 ** 30, bad: '0' },
  recordRequests: { text: '8', value: 8, bad: '-1', with: ['--record-requests-dir=recorded'] },
  recordRequestsDir: { text: 'recorded', value: 'recorded', bad: '', with: ['--record-requests=8'] },
  allowHttp: { text: '1', value: true, bad: 'maybe' },
  httpAddress: { text: '127.0.0.2', value: '127.0.0.2', bad: '' },
  httpPort: { text: '9000', value: 9000, bad: '65536' },
  httpEngine: { text: 'node', value: 'node', bad: 'deno' },
  httpMaxInputSize: { text: '2MiB', value: 2_097_152, bad: '2MB' },
  httpMaxBufferedBytes: { text: '1073741824', value: 1_073_741_824, bad: '1.5GiB' },
  httpMaxHeaderBytes: { text: '32kib', value: 32_768, bad: '10' },
  httpMaxConnections: { text: '5', value: 5, bad: '0' },
  httpHeaderTimeoutMs: { text: '100', value: 100, bad: '1e3' },
  httpRequestTimeoutMs: { text: '100', value: 100, bad: '2147483648' },
  httpKeepaliveTimeoutMs: { text: '100', value: 100, bad: '' },
  httpTlsCert: { text: 'cert.pem', value: 'cert.pem', bad: '', with: ['--http-tls-key=key.pem'] },
  httpTlsKey: { text: 'key.pem', value: 'key.pem', bad: '', with: ['--http-tls-cert=cert.pem'] },
  httpTlsCa: { text: 'ca.pem', value: 'ca.pem', bad: '', with: ['--http-tls-cert=cert.pem', '--http-tls-key=key.pem'] },
  httpAllowOrigin: { text: 'https://app.example.com', value: ['https://app.example.com'], bad: 'app.example.com' },
  allowWebsocket: { text: 'false', value: false, bad: 'no' },
  websocketMaxInflightRequests: { text: '7', value: 7, bad: '0' },
  websocketMaxUnsentBytes: { text: '1MiB', value: 2 ** 20, bad: '1' },
  websocketIdleTimeoutMs: { text: '9000', value: 9000, bad: '7' },
  allowGrpc: { text: 'false', value: false, bad: 'no' },
  grpcAddress: { text: '127.0.0.3', value: '127.0.0.3', bad: '' },
  grpcPort: { text: '9001', value: 9001, bad: 'x' },
  grpcMaxReceiveBytes: { text: '1GiB', value: 2 ** 30, bad: '1' },
  grpcMaxSendBytes: { text: '1GiB', value: 2 ** 30, bad: '1' },
  grpcMaxMetadataBytes: { text: '8KiB', value: 8192, bad: '10' },
  grpcMaxConnections: { text: '5', value: 5, bad: '0' },
  grpcMaxConcurrentCalls: { text: '5', value: 5, bad: '0' },
  grpcTlsCert: { text: 'cert.pem', value: 'cert.pem', bad: '', with: ['--grpc-tls-key=key.pem'] },
  grpcTlsKey: { text: 'key.pem', value: 'key.pem', bad: '', with: ['--grpc-server-cert=cert.pem'] },
  grpcTlsCa: { text: 'ca.pem', value: 'ca.pem', bad: '', with: ['--grpc-tls-cert=cert.pem', '--grpc-tls-key=key.pem'] },
  grpcUseSsl: { text: '1', value: true, bad: 'no', with: ['--grpc-tls-cert=cert.pem', '--grpc-tls-key=key.pem'] },
  grpcUseSslMutual: {
    text: '1',
    value: true,
    bad: 'no',
    with: ['--grpc-server-cert=cert.pem', '--grpc-server-key=key.pem', '--grpc-root-cert=ca.pem'],
  },
  grpcCompression: { text: 'medium', value: 'medium', bad: 'gzip' },
  grpcKeepaliveTimeMs: { text: '10', value: 10, bad: '0' },
  grpcKeepaliveTimeoutMs: { text: '10', value: 10, bad: '0' },
  grpcMaxConnectionAgeMs: { text: '10', value: 10, bad: '-1' },
  grpcMaxConnectionAgeGraceMs: { text: '10', value: 10, bad: '-1' },
  allowMetrics: { text: 'Off', value: false, bad: 'no' },
  metricsAddress: { text: '127.0.0.4', value: '127.0.0.4', bad: '' },
  metricsPort: { text: '9002', value: 9002, bad: '-1' },
  metricsConfig: {
    text: 'summary_latencies=true',
    value: { ...serverOptions.metricsConfig.default, summaryLatencies: true } as ServerOptions['metricsConfig'],
    bad: 'summary=true',
  },
  metricsIntervalMs: { text: '500', value: 500, bad: '0' },
  allowCpuMetrics: { text: '0', value: false, bad: 'no' },
  executionHost: { text: 'inline', value: 'inline', bad: 'thread' },
  executionTimeoutMs: { text: '5', value: 5, bad: '0' },
  loadTimeoutMs: { text: '5', value: 5, bad: '0' },
  hostMemoryBytes: { text: '2GiB', value: 2 ** 31, bad: '-1' },
  tensorMemoryBytes: { text: '64MiB', value: 2 ** 26, bad: '1' },
  maxInflightRequests: { text: '7', value: 7, bad: '0' },
  maxQueueSize: { text: '7', value: 7, bad: '0' },
  learnedBatching: { text: 'off', value: false, bad: 'no' },
  maxQueueTimeMs: { text: '7', value: 7, bad: '0' },
  cacheConfig: { text: 'local,size=1MiB', value: { kind: 'local', sizeBytes: 2 ** 20 }, bad: 'disk,size=1' },
  responseCacheByteSize: { text: '1MiB', value: 2 ** 20, bad: '-1' },
  rateLimit: { text: 'execution_count', value: 'execution_count', bad: 'on' },
  rateLimitResource: {
    text: 'R1:4:0',
    value: [{ name: 'R1', count: 4, device: 0 }],
    bad: 'R1',
    with: ['--rate-limit=execution_count'],
  },
  logLevel: { text: 'WARN', value: 'warn', bad: 'loud' },
  logFormat: { text: 'json', value: 'json', bad: 'xml' },
  logFile: { text: 'a.log', value: 'a.log', bad: '' },
  logVerbose: { text: '2', value: 2, bad: '-1' },
  logInfo: { text: 'false', value: false, bad: 'no' },
  logWarning: { text: 'false', value: false, bad: 'no' },
  logError: { text: 'false', value: false, bad: 'no' },
  id: { text: 'edge', value: 'edge', bad: '' },
  exitTimeoutSecs: { text: '3', value: 3, bad: '1.5' },
  configFile: { text: join(folder, 'empty.yaml'), value: join(folder, 'empty.yaml'), bad: join(folder, 'absent.yaml') },
};
writeFileSync(samples.configFile.text, '');

const names = Object.keys(serverOptions) as (keyof ServerOptions)[];

describe.each(names)('%s', (name) => {
  const { flag } = serverOptions[name] as OptionDeclaration<unknown>;
  const { text, value, bad, with: others = [] } = samples[name];
  const models = name === 'modelRepository' || name === 'modelFiles' ? [] : withModels;

  test('comes from a flag, in both forms', () => {
    expect(parse([...models, ...others, `--${flag}=${text}`])[name]).toEqual(value);
    expect(parse([...models, ...others, `--${flag}`, text])[name]).toEqual(value);
  });

  test('comes from the environment', () => {
    expect(parse([...models, ...others], { [environmentNameOf(flag)]: text })[name]).toEqual(value);
  });

  test('comes from a file, but for the file itself', () => {
    if (name === 'configFile') {
      writeFileSync(join(folder, 'other.yaml'), 'config-file: x');
      expect(messageOf([...models, '--config-file', join(folder, 'other.yaml')])).toContain('cannot name another');
      return;
    }
    for (const [file, content] of [
      [`${name}.yaml`, `${flag}: ${text}\n`],
      [`${name}.json`, JSON.stringify({ [flag]: serverOptions[name].kind.isList ? [text] : text })],
    ] as const) {
      writeFileSync(join(folder, file), content);
      expect(parse([...models, ...others, '--config-file', join(folder, file)])[name]).toEqual(value);
    }
  });

  test('refuses a bad value by name', () => {
    const message = messageOf([...models, ...others, `--${flag}=${bad}`]);
    expect(message).toContain(`--${flag}`);
    if (bad !== '') expect(message).toContain(bad);
    else expect(message).toContain('expected');
  });
});

describe('where options come from', () => {
  test('flag, then environment, then file, then default', () => {
    const file = join(folder, 'all.yaml');
    writeFileSync(file, 'http_port: 1\nmetrics-port: 2\nid: file\n');
    const env = { NEREID_HTTP_PORT: '3', NEREID_METRICS_PORT: '4', NEREID_CONFIG_FILE: file };
    const options = parse([...withModels, '--http-port', '5'], env);
    expect([options.httpPort, options.metricsPort, options.id, options.grpcPort]).toEqual([5, 4, 'file', 8001]);
  });

  test('the result is complete and frozen, defaults of the reference among it', () => {
    const options = parse(withModels);
    expect(Object.keys(options).sort()).toEqual([...names].sort());
    expect(Object.isFrozen(options)).toBe(true);
    expect(Object.isFrozen(options.modelRepository)).toBe(true);
    expect(options).toMatchObject({
      httpPort: 8000,
      metricsPort: 8002,
      httpMaxInputSize: 67_108_864,
      exitTimeoutSecs: 30,
      strictReadiness: true,
    });
    expect(options.httpAddress).toBe('127.0.0.1');
  });

  test('metrics listen where HTTP does', () => {
    expect(parse([...withModels, '--http-address', '127.0.0.9']).metricsAddress).toBe('127.0.0.9');
  });

  test('lists: every flag, elements of the environment by semicolon, the environment not added to flags', () => {
    const env = { NEREID_BACKEND_CONFIG: 'a=1;onnxruntime,b=2' };
    expect(parse(withModels, env).backendConfig).toHaveLength(2);
    expect(parse([...withModels, '--backend-config=c=3', '--backend-config', 'd=4,5'], env).backendConfig).toEqual([
      { backend: '', setting: 'c', value: '3' },
      { backend: '', setting: 'd', value: '4,5' },
    ]);
    expect(parse(['--model-store', repository, '--model-repository', folder]).modelRepository).toEqual([repository, folder]);
  });

  test('a repository, or a model to load, that is named twice is one', () => {
    const twice = [repository, `${repository}/`, folder, relative(process.cwd(), repository)].map((one) => `--model-repository=${one}`);
    const loads = ['--model-control-mode=explicit', '--load-model=a', '--load-model=b', '--load-model=a'];
    const options = parse([...twice, ...loads]);
    expect([options.modelRepository, options.loadModel]).toEqual([
      [repository, folder],
      ['a', 'b'],
    ]);
    // Alone, however often.
    expect(parse([...twice, '--model-control-mode=explicit', '--load-model=*', '--load-model=*']).loadModel).toEqual(['*']);
  });

  test('a bare switch is true and leaves the next argument alone', () => {
    const options = parse(['--exit-on-error', model]);
    expect([options.exitOnError, options.modelFiles]).toEqual([true, [model]]);
    expect(parse([model, '--strict-readiness', '--http-port', '0']).httpPort).toBe(0);
    expect(parse([model, '--log-verbose', '1', '--strict-model-config']).disableAutoCompleteConfig).toBe(true);
  });

  test('the default batch size in the spelling of tritonserver; our own flag wins', () => {
    const triton = [...withModels, '--backend-config=default-max-batch-size=16'];
    expect(parse(triton).defaultMaxBatchSize).toBe(16);
    expect(parse([...triton, '--default-max-batch-size=2']).defaultMaxBatchSize).toBe(2);
  });

  test('variables that Kubernetes sets for a Service are not options', () => {
    const env = { NEREID_PORT: 'tcp://10.0.0.1:80', NEREID_HTTP_PORT: 'tcp://10.0.0.1:8000', NEREID_SERVICE_PORT_HTTP: '80' };
    expect(parseServeOptions(withModels, env)).toMatchObject({ warnings: [], options: { httpPort: 8000 } });
  });
});

describe('what is refused', () => {
  test.each([
    [['--http-prot', '1'], "unknown option '--http-prot'; did you mean '--http-port'?"],
    [['--zzzzzzzzzzzzz'], "unknown option '--zzzzzzzzzzzzz'; see nereid serve --help"],
    [['--http-port'], '--http-port needs a value: PORT'],
    [['--http-port', '--id', 'x'], '--http-port needs a value: PORT'],
    [['--http-port=80x'], "--http-port: expected an integer from 0 to 65535, got '80x'"],
    [['-p', '80'], "'-p' is not a flag: flags have two dashes; see nereid serve --help"],
    [['--allow-http=false', '--allow-grpc=false'], '--allow-http false and --allow-grpc false leave no way to call the models'],
    [['--grpc-tls-cert=a'], '--grpc-tls-cert needs --grpc-tls-key'],
    [['--grpc-server-key=a'], '--grpc-tls-key needs --grpc-tls-cert'],
    [['--grpc-use-ssl'], '--grpc-use-ssl needs --grpc-tls-cert and --grpc-tls-key'],
    [['--grpc-tls-cert=a', '--grpc-tls-key=b', '--grpc-use-ssl-mutual'], '--grpc-use-ssl-mutual needs --grpc-tls-ca'],
    [['--http-allow-origin=http://a/b'], /^--http-allow-origin: expected an origin such as/],
    [['--grpc-port=8002'], '--grpc-port and --metrics-port are both 8002: each needs a port of its own'],
    [['--load-model=simple'], /^--load-model needs --model-control-mode explicit/],
    [['--model-control-mode=poll', '--load-model=simple'], /^--load-model needs --model-control-mode explicit/],
    [['--model-memory-budget=1GiB'], /^--model-memory-budget needs --load-on-demand/],
    [['--idle-unload-secs=60'], /^--idle-unload-secs needs --load-on-demand/],
    [['--record-requests=4'], '--record-requests needs --record-requests-dir'],
    [['--record-requests-dir=a'], '--record-requests-dir needs --record-requests'],
    [['--model-config-name=../a'], "--model-config-name: expected a name of letters, digits, _ - and ., got '../a'"],
    [['--model-control-mode=explicit', '--load-model=*', '--load-model=simple'], /^--load-model \* means all models/],
    [['--http-tls-cert=a'], '--http-tls-cert needs --http-tls-key'],
    [['--http-tls-key=a'], '--http-tls-key needs --http-tls-cert'],
    [['--metrics-port=8000'], '--http-port and --metrics-port are both 8000: each needs a port of its own'],
    [['--http-max-input-size=2GiB', '--http-max-buffered-bytes=1GiB'], /^--http-max-buffered-bytes 1073741824 is less than/],
    [['--http-restricted-api=inference:key=x'], /^--http-restricted-api is not supported yet: there is no authentication/],
    [['--trace-level=TIMESTAMPS'], '--trace-level is not supported yet: there is no tracing'],
    [['extra.txt'], "'extra.txt' is neither a flag nor an .onnx or .gguf file"],
    [['model.onnx'], 'either --model-repository or model files, not both'],
    [['--metrics-config=summary_quantiles=2:0'], /^--metrics-config: summary_quantiles is a list of <quantile>:<error>/],
  ])('%j', (argv, message) => {
    expect(messageOf([...withModels, ...argv])).toMatch(message);
  });

  test('files that would be one model', () => {
    const other = join(folder, 'digits.GGUF');
    writeFileSync(other, 'x');
    expect(messageOf([model, other])).toMatch(/would both be the model 'digits': rename one/);
    const [again, third] = [relative(process.cwd(), model), join(folder, 'llm.gguf')];
    writeFileSync(third, 'x');
    expect(parse([model, third, again]).modelFiles).toEqual([model, third]);
    expect(messageOf([model, `${third}x`])).toMatch(/is neither a flag nor an .onnx or .gguf file/);
    expect(messageOf([model, join(folder, 'llmm.gguf')])).toMatch(/is not there; did you mean 'llm.gguf'\?/);
  });

  test('one file, and a mode that follows a directory', () => {
    expect(messageOf([model, '--model-control-mode=poll'])).toMatch(/^--model-control-mode poll follows a directory of models/);
    expect(parse([...withModels, '--model-control-mode=POLL']).modelControlMode).toBe('poll');
  });

  test('models that are not there, with the nearest name', () => {
    expect(messageOf([])).toMatch(/^no models/);
    expect(messageOf(['--model-repository', join(folder, 'modles')])).toMatch(/modles' is not there; did you mean 'models'\?$/);
    expect(messageOf([join(folder, 'digit.onnx')])).toMatch(/is not there; did you mean 'digits.onnx'\?$/);
    expect(messageOf(['--model-repository', model])).toMatch(/is not a directory$/);
    expect(messageOf([repository])).toMatch(/for a directory of models: --model-repository/);
    expect(messageOf(['--model-repository', join(folder, 'a', 'b')])).toMatch(/nor is the directory/);
  });

  test('bad files name the file and the key', () => {
    const file = join(folder, 'bad.yaml');
    for (const [content, message] of [
      ['http-prot: 1', /bad\.yaml: http-prot'; did you mean 'http-port'\?$/],
      ['http-port: [1, 2]', /http-port: expected one value, got a list$/],
      ['http-port: {a: 1}', /http-port: expected text, a number/],
      ['http-port: x', /bad\.yaml: http-port: expected an integer/],
      ['- a', /expected an object/],
      ['a: [', /^--config-file .*bad\.yaml: /],
      ['config-file: x', /cannot name another$/],
      ['trace-level: TIMESTAMPS', /trace-level is not supported yet/],
    ] as const) {
      writeFileSync(file, content);
      expect(messageOf([...withModels, '--config-file', file])).toMatch(message);
    }
  });
});

describe('flags of tritonserver', () => {
  test.each(Object.entries(tritonserverFlags))('--%s is refused or warned about, never ignored', (flag, { effect, neutral = [] }) => {
    const argv = [...withModels, `--${flag}=something`];
    if (effect === 'refused') expect(messageOf(argv)).toContain(`--${flag} is not supported yet: `);
    else expect(parseServeOptions(argv, {}).warnings).toEqual([expect.stringContaining(`--${flag} has no effect: `)]);
    for (const value of neutral) expect(parseServeOptions([...withModels, `--${flag}`, value], {}).warnings).toEqual([]);
    expect(Object.values(serverOptions).map((declaration) => declaration.flag)).not.toContain(flag);
  });
});

test('what deserves a warning', () => {
  const argv = [...withModels, '--http-address=0.0.0.0', '--allow-metrics=false'];
  expect(parseServeOptions(argv, { NEREID_HTPP_PORT: '1' }).warnings).toEqual([
    "environment variable NEREID_HTPP_PORT is not known; did you mean 'NEREID_HTTP_PORT'?",
    '--http-address 0.0.0.0 opens the models to other machines without TLS or authentication',
    '--grpc-address 0.0.0.0 opens the models to other machines without TLS or authentication',
  ]);
});

test('the help has each option once, with its default and environment name, in 100 columns', () => {
  const help = serveHelp();
  const lines = help.split('\n');
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
  for (const declaration of Object.values(serverOptions)) {
    expect(lines.filter((line) => line.startsWith(`  --${declaration.flag} `))).toHaveLength(1);
    expect(help.replaceAll(/\s+/g, ' ')).toContain(`${environmentNameOf(declaration.flag)}`);
  }
  expect(help).toContain('default 8000; NEREID_HTTP_PORT');
});

test('docs/configuration.md is current: node dist/server/options/options-doc.js docs/configuration.md', () => {
  const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'configuration.md'), 'utf8');
  expect(updateOptionsPage(page)).toBe(page);
});
