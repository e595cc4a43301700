import type { RpcMethod } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { controlMethods } from './control.ts';
import { streamInferMethod } from './stream-infer.ts';
import { unaryInferMethod } from './unary-infer.ts';

const SERVICE = 'inference.GRPCInferenceService';

/** Every RPC of the Open Inference Protocol, with Triton's extensions: `proto/inference_service.proto`. */
export function oipGrpcMethods(context: ProtocolContext): RpcMethod[] {
  return [
    unaryInferMethod(`/${SERVICE}/ModelInfer`, context),
    streamInferMethod(`/${SERVICE}/ModelStreamInfer`, context),
    ...controlMethods(SERVICE, context),
  ];
}
