import type { UnaryMethod } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { controlMethod } from './control-method.ts';
import { decodeLoadRequest, decodeUnloadRequest } from './decode-load-request.ts';

/** Load and unload (model repository extension). */
export function repositoryMethods(service: string, context: ProtocolContext): UnaryMethod[] {
  const { repository } = context;
  return [
    controlMethod(service, 'RepositoryModelLoad', context, async (message) => {
      const { modelName, parameters } = decodeLoadRequest(message);
      await repository.load(modelName, parameters);
      return {};
    }),
    controlMethod(service, 'RepositoryModelUnload', context, async (message) => {
      const { modelName, unloadDependents } = decodeUnloadRequest(message);
      await repository.unload(modelName, { unloadDependents });
      return {};
    }),
  ];
}
