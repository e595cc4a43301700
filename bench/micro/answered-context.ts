import { Admission } from '../../server/data-plane/admission.ts';
import { InferenceDoor } from '../../server/data-plane/infer.ts';
import type { ProtocolContext } from '../../server/protocols/protocol.ts';
import type { ModelLoader } from '../../server/repository/model-loader.ts';
import { ModelRepository } from '../../server/repository/model-repository.ts';
import { answeredModel, type TickClock } from './answered-model.ts';

/** What a protocol knocks on: a real door and repository with `answeredModel` behind them. A fault ends the benchmark. */
export async function answeredContext(clock: TickClock): Promise<ProtocolContext> {
  const model = answeredModel(clock);
  const reportFault = (error: unknown): never => {
    throw error;
  };
  const repository = new ModelRepository({
    directories: [],
    modelFiles: [`${model.name}.onnx`],
    controlMode: 'none',
    loadModels: [],
    loader: { load: () => Promise.resolve(model) } as unknown as ModelLoader,
    warn: () => {},
    unusable: () => {},
    onFault: reportFault,
  });
  await repository.loadAll({ started: () => {}, loading: () => {}, loaded: () => {} });
  return {
    door: new InferenceDoor(repository, new Admission(4096, 2 ** 30), clock, null),
    repository,
    serverName: 'nereid',
    serverVersion: '0',
    isReady: () => true,
    isLive: () => true,
    reportFault,
  };
}
