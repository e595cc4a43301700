/**
 * Backends by name: `backends/<name>/index.js`, imported when the first model asks for it. Runs inside execution hosts only.
 */

import { existsSync } from 'node:fs';
import type { Backend, BackendModule, HostServices } from '../../backends/api/backend.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';

const NAME = /^[a-z][a-z0-9_-]{0,63}$/;

export class BackendLoader {
  readonly #settings: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly #services: HostServices | null;
  /** Promises, so that two models that ask at once get one backend. */
  readonly #backends: Map<string, Promise<Backend>> = new Map();

  /** `services`: for models that are code; null: there are none in this host. */
  constructor(settings: Readonly<Record<string, Readonly<Record<string, string>>>>, services: HostServices | null = null) {
    this.#settings = settings;
    this.#services = services;
  }

  /** Rejects with INVALID_ARGUMENT when there is no such backend, INTERNAL when it can't start. */
  backend(name: string): Promise<Backend> {
    let backend = this.#backends.get(name);
    if (backend === undefined) {
      backend = this.#create(name);
      this.#backends.set(name, backend);
      // A failure is not kept: what was missing may be installed by the next try.
      backend.catch(() => this.#backends.delete(name));
    }
    return backend;
  }

  async close(): Promise<void> {
    const backends = await Promise.allSettled(this.#backends.values());
    this.#backends.clear();
    for (const backend of backends) if (backend.status === 'fulfilled') await backend.value.close();
  }

  async #create(name: string): Promise<Backend> {
    if (!NAME.test(name) || name === 'api')
      throw invalidArgument(`backend '${name}' is not a backend's name; set 'backend' in the model's configuration`);
    // The sibling in the same layout: dist/ when built, the sources when a test runs them.
    const url = new URL(`../../backends/${name}/index${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
    if (!existsSync(url)) throw invalidArgument(`there is no backend '${name}'; check 'backend' in the model's configuration`);
    try {
      const module: BackendModule = await import(/* @vite-ignore */ url.href);
      const settings = this.#settings[name] ?? {};
      return await module.createBackend(this.#services === null ? { settings } : { settings, services: this.#services });
    } catch (error) {
      if (error instanceof InferenceError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new InferenceError('UNAVAILABLE', `backend '${name}' can't start: ${reason}`, { cause: error });
    }
  }
}
