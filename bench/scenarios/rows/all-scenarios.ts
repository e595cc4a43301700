import type { Scenario } from '../scenario.ts';
import { bert, bytes, image, mlp, resnet50 } from './models.ts';
import { ensemble, sequence } from './pipelines.ts';
import { tinyGrpc, tinyHttp, tinyLatency, tinyProcess, tinyWebSocket } from './tiny.ts';

/** Every scenario that is a rotation of contenders, in the order in which the documentation shows them. */
export const allScenarios: readonly Scenario[] = [
  tinyHttp,
  tinyGrpc,
  tinyWebSocket,
  tinyLatency,
  tinyProcess,
  mlp,
  image,
  resnet50,
  bert,
  bytes,
  ensemble,
  sequence,
];
