import { connect } from 'node:net';
import type { WireProtocol } from '../load/load-plan.ts';
import type { BenchRepository } from './bench-repository.ts';
import { type BenchServer, type Launch, launchModels, startServer } from './child.ts';
import type { EmptyStack, ServerSpec } from './scenario.ts';

/** A server that contenders share. */
export interface RunningServer {
  readonly process: BenchServer;
  portOf(protocol: WireProtocol): number;
}

/** The servers of a scenario: one for each way of starting it, however many contenders ask for it. */
export class ServerFleet {
  readonly #repository: BenchRepository;
  readonly #launch: Launch;
  readonly #servers = new Map<string, Promise<RunningServer>>();

  constructor(repository: BenchRepository, launch: Launch) {
    this.#repository = repository;
    this.#launch = launch;
  }

  get(spec: ServerSpec): Promise<RunningServer> {
    return this.#of(JSON.stringify(spec), () => this.#start(spec));
  }

  /** The control of one contender: what it answers is the answer to that contender's requests. */
  getEmpty(spec: Extract<ServerSpec, { kind: 'empty' }>, contender: string, protocol: WireProtocol): Promise<RunningServer> {
    return this.#of(`${JSON.stringify(spec)} ${contender}`, async () => {
      const like = await this.get(spec.like);
      return startEmpty(spec.stack, like.portOf(protocol), this.#launch);
    });
  }

  async close(): Promise<void> {
    const started = await Promise.allSettled(this.#servers.values());
    await Promise.all(started.map((one) => (one.status === 'fulfilled' ? one.value.process.stop() : undefined)));
  }

  #of(key: string, start: () => Promise<RunningServer>): Promise<RunningServer> {
    const known = this.#servers.get(key);
    if (known !== undefined) return known;
    const starting = start();
    this.#servers.set(key, starting);
    return starting;
  }

  async #start(spec: ServerSpec): Promise<RunningServer> {
    if (spec.kind === 'empty') throw new RangeError('an empty server belongs to one contender: getEmpty starts it');
    const server = await launchModels(this.#repository.path, spec.flags, this.#launch);
    return { process: server, portOf: (protocol) => (protocol.startsWith('grpc') ? server.grpcPort : server.port) };
  }
}

async function startEmpty(stack: EmptyStack, upstreamPort: number, { core }: Launch): Promise<RunningServer> {
  const [script, ...more] = {
    uws: ['empty-server.js', 'uws'],
    node: ['empty-server.js', 'node'],
    websocket: ['empty-server.js', 'websocket'],
    http2: ['empty-http2-grpc-server.js'],
    'grpc-js': ['empty-grpc-server.js'],
  }[stack];
  const args = (port: number): string[] => [...more, String(port), String(upstreamPort)];
  const process = await startServer(`bench/scenarios/${script}`, args, isListening, { core, preload: '' });
  return { process, portOf: () => process.port };
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const done = (isUp: boolean) => (): void => {
      socket.destroy();
      resolve(isUp);
    };
    socket.once('connect', done(true));
    socket.once('error', done(false));
  });
}
