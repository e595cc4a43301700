/** What becomes of a tritonserver flag that is no option here. */
export interface TritonserverFlag {
  /** `refused`: it asks for what is not there, and going on without it could surprise. `unused`: accepted with a warning. */
  readonly effect: 'refused' | 'unused';
  /** Completes "--flag is not supported yet: " or "--flag has no effect: ". */
  readonly reason: string;
  /** Values that ask for nothing: accepted without a word. */
  readonly neutral?: readonly string[];
  /** Takes no value, or a switch word. */
  readonly isSwitch?: boolean;
}

const off: readonly string[] = ['false', 'off', '0'];

const noPingCount: TritonserverFlag = { effect: 'unused', reason: 'pings are answered, and a client that reads no answers is cut off' };
const noSagemaker: TritonserverFlag = { effect: 'unused', reason: 'the SageMaker endpoint is not served' };
const noVertex: TritonserverFlag = { effect: 'unused', reason: 'the Vertex AI endpoint is not served' };
const noGpu: TritonserverFlag = { effect: 'unused', reason: 'GPU memory is managed by ONNX Runtime' };
const noTracing: TritonserverFlag = { effect: 'refused', reason: 'there is no tracing' };
const builtInFolders = 'backends, agents and caches are part of the package';

/** Every flag of tritonserver that `serverOptions` does not declare: none is ignored in silence. */
export const tritonserverFlags: Readonly<Record<string, TritonserverFlag>> = {
  'model-namespacing': { effect: 'refused', reason: 'model names are unique across repositories', neutral: off, isSwitch: true },
  'enable-peer-access': { ...noGpu, isSwitch: true },

  'reuse-http-port': { effect: 'refused', reason: 'each server has its port to itself', neutral: off, isSwitch: true },
  'http-header-forward-pattern': { effect: 'refused', reason: 'request headers are not forwarded to models' },
  'http-thread-count': { effect: 'unused', reason: 'one event loop serves all connections' },
  'http-restricted-api': {
    effect: 'refused',
    reason: 'there is no authentication; put a gateway that authenticates in front of the server',
  },

  'reuse-grpc-port': { effect: 'refused', reason: 'each server has its port to itself', neutral: off, isSwitch: true },
  'grpc-header-forward-pattern': { effect: 'refused', reason: 'request metadata is not forwarded to models' },
  'grpc-restricted-protocol': {
    effect: 'refused',
    reason: 'there is no authentication; put a gateway that authenticates in front of the server, or use --grpc-use-ssl-mutual',
  },
  'grpc-infer-thread-count': { effect: 'unused', reason: 'one event loop serves all connections' },
  'grpc-infer-allocation-pool-size': { effect: 'unused', reason: 'requests and responses are not pooled' },
  'grpc-max-response-pool-size': { effect: 'unused', reason: 'a decoupled model is held back as soon as its client does not read' },
  'grpc-keepalive-permit-without-calls': { effect: 'unused', reason: 'connections without calls are pinged as well' },
  'grpc-http2-max-pings-without-data': noPingCount,
  'grpc-http2-min-recv-ping-interval-without-data': noPingCount,
  'grpc-http2-max-ping-strikes': noPingCount,

  'allow-sagemaker': { effect: 'refused', reason: noSagemaker.reason, neutral: off, isSwitch: true },
  'sagemaker-port': noSagemaker,
  'sagemaker-safe-port-range': noSagemaker,
  'sagemaker-thread-count': noSagemaker,
  'allow-vertex-ai': { effect: 'refused', reason: noVertex.reason, neutral: off, isSwitch: true },
  'vertex-ai-port': noVertex,
  'vertex-ai-thread-count': noVertex,
  'vertex-ai-default-model': noVertex,

  'allow-gpu-metrics': { effect: 'unused', reason: 'there are no GPU metrics', neutral: off, isSwitch: true },

  'trace-config': noTracing,
  'trace-file': noTracing,
  'trace-level': { ...noTracing, neutral: ['OFF'] },
  'trace-rate': noTracing,
  'trace-count': noTracing,
  'trace-log-frequency': noTracing,

  'backend-directory': { effect: 'refused', reason: builtInFolders },
  'repoagent-directory': { effect: 'refused', reason: builtInFolders },
  'cache-directory': { effect: 'refused', reason: builtInFolders },

  'pinned-memory-pool-byte-size': noGpu,
  'cuda-memory-pool-byte-size': noGpu,
  'cuda-virtual-address-size': noGpu,
  'min-supported-compute-capability': noGpu,
  'model-load-gpu-limit': noGpu,
  'buffer-manager-thread-count': { effect: 'unused', reason: 'tensors lie in shared memory from the start' },
  'host-policy': { effect: 'refused', reason: 'hosts are not bound to processors; use taskset or the container runtime' },

  'allow-client-shm': { effect: 'refused', reason: "clients' shared memory is not read", neutral: off, isSwitch: true },
};
