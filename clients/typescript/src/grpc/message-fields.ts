/** Written by generate-message-fields.mjs from proto/*.proto: change those, and run it again. */

/**
 * Fields of each message, as `name:number:type`. A type is a scalar, the name of a message or an enum; `[]` behind it: a list; `?`: missing when it is not set, where
 * all else has its default; `-text`: a 64-bit number as text. Messages of the model configuration have the names that its JSON has, the others JavaScript's.
 */
export const MESSAGE_FIELDS: Readonly<Record<string, string>> = {
  ServerLiveRequest: '',
  ServerLiveResponse: 'live:1:bool',
  ServerReadyRequest: '',
  ServerReadyResponse: 'ready:1:bool',
  ModelReadyRequest: 'name:1:string version:2:string',
  ModelReadyResponse: 'ready:1:bool',
  ServerMetadataRequest: '',
  ServerMetadataResponse: 'name:1:string version:2:string extensions:3:string[]',
  ModelMetadataRequest: 'name:1:string version:2:string',
  ModelMetadataResponse:
    'name:1:string versions:2:string[] platform:3:string inputs:4:ModelMetadataResponse.TensorMetadata[] outputs:5:ModelMetadataResponse.TensorMetadata[]',
  'ModelMetadataResponse.TensorMetadata': 'name:1:string datatype:2:string shape:3:int64[]',
  ModelConfigRequest: 'name:1:string version:2:string',
  ModelConfigResponse: 'config:1:ModelConfig',
  ModelConfig:
    'name:1:string platform:2:string backend:17:string runtime:25:string version_policy:3:ModelVersionPolicy? max_batch_size:4:int32 input:5:ModelInput[] output:6:ModelOutput[] batch_input:20:BatchInput[] batch_output:21:BatchOutput[] optimization:12:ModelOptimizationPolicy? dynamic_batching:11:ModelDynamicBatching? sequence_batching:13:ModelSequenceBatching? ensemble_scheduling:15:ModelEnsembling? instance_group:7:ModelInstanceGroup[] default_model_filename:8:string cc_model_filenames:9:map<string,string> metric_tags:10:map<string,string> parameters:14:map<string,ModelParameter> model_warmup:16:ModelWarmup[] model_operations:18:ModelOperations? model_transaction_policy:19:ModelTransactionPolicy? model_repository_agents:23:ModelRepositoryAgents? response_cache:24:ModelResponseCache? model_metrics:26:ModelMetrics? version_labels:1001:map<string,int64> golden_check:1002:ModelGoldenCheck[] warmup_requests:1003:string[] learned_batching:1004:ModelLearnedBatching?',
  ModelVersionPolicy: 'latest:1:ModelVersionPolicy.Latest? all:2:ModelVersionPolicy.All? specific:3:ModelVersionPolicy.Specific?',
  'ModelVersionPolicy.Latest': 'num_versions:1:uint32',
  'ModelVersionPolicy.All': '',
  'ModelVersionPolicy.Specific': 'versions:1:int64[]',
  ModelInput:
    'name:1:string data_type:2:DataType format:3:ModelInput.Format dims:4:int64[] reshape:5:ModelTensorReshape? is_shape_tensor:6:bool allow_ragged_batch:7:bool optional:8:bool is_non_linear_format_io:9:bool',
  ModelTensorReshape: 'shape:1:int64[]',
  ModelOutput:
    'name:1:string data_type:2:DataType dims:3:int64[] label_filename:4:string reshape:5:ModelTensorReshape? is_shape_tensor:6:bool is_non_linear_format_io:7:bool',
  BatchInput: 'kind:1:BatchInput.Kind target_name:2:string[] data_type:3:DataType source_input:4:string[]',
  BatchOutput: 'target_name:1:string[] kind:2:BatchOutput.Kind source_input:3:string[]',
  ModelOptimizationPolicy:
    'graph:1:ModelOptimizationPolicy.Graph? priority:2:ModelOptimizationPolicy.ModelPriority cuda:3:ModelOptimizationPolicy.Cuda? execution_accelerators:4:ModelOptimizationPolicy.ExecutionAccelerators? input_pinned_memory:5:ModelOptimizationPolicy.PinnedMemoryBuffer? output_pinned_memory:6:ModelOptimizationPolicy.PinnedMemoryBuffer? gather_kernel_buffer_threshold:7:uint32 eager_batching:8:bool',
  'ModelOptimizationPolicy.Graph': 'level:1:int32',
  'ModelOptimizationPolicy.Cuda':
    'graphs:1:bool busy_wait_events:2:bool graph_spec:3:ModelOptimizationPolicy.Cuda.GraphSpec[] output_copy_stream:4:bool',
  'ModelOptimizationPolicy.Cuda.GraphSpec':
    'batch_size:1:int32 input:2:map<string,ModelOptimizationPolicy.Cuda.GraphSpec.Shape> graph_lower_bound:3:ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound?',
  'ModelOptimizationPolicy.Cuda.GraphSpec.Shape': 'dim:1:int64-text[]',
  'ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound':
    'batch_size:1:int32 input:2:map<string,ModelOptimizationPolicy.Cuda.GraphSpec.Shape>',
  'ModelOptimizationPolicy.ExecutionAccelerators':
    'gpu_execution_accelerator:1:ModelOptimizationPolicy.ExecutionAccelerators.Accelerator[] cpu_execution_accelerator:2:ModelOptimizationPolicy.ExecutionAccelerators.Accelerator[]',
  'ModelOptimizationPolicy.ExecutionAccelerators.Accelerator': 'name:1:string parameters:2:map<string,string>',
  'ModelOptimizationPolicy.PinnedMemoryBuffer': 'enable:1:bool',
  ModelDynamicBatching:
    'preferred_batch_size:1:int32[] max_queue_delay_microseconds:2:uint64 preserve_ordering:3:bool priority_levels:4:uint64 default_priority_level:5:uint64 default_queue_policy:6:ModelQueuePolicy? priority_queue_policy:7:map<uint64,ModelQueuePolicy>',
  ModelQueuePolicy:
    'timeout_action:1:ModelQueuePolicy.TimeoutAction default_timeout_microseconds:2:uint64 allow_timeout_override:3:bool max_queue_size:4:uint32',
  ModelSequenceBatching:
    'direct:3:ModelSequenceBatching.StrategyDirect? oldest:4:ModelSequenceBatching.StrategyOldest? max_sequence_idle_microseconds:1:uint64 control_input:2:ModelSequenceBatching.ControlInput[] state:5:ModelSequenceBatching.State[] iterative_sequence:6:bool',
  'ModelSequenceBatching.StrategyDirect': 'max_queue_delay_microseconds:1:uint64 minimum_slot_utilization:2:float',
  'ModelSequenceBatching.StrategyOldest':
    'max_candidate_sequences:1:int32 preferred_batch_size:2:int32[] max_queue_delay_microseconds:3:uint64 preserve_ordering:4:bool',
  'ModelSequenceBatching.ControlInput': 'name:1:string control:2:ModelSequenceBatching.Control[]',
  'ModelSequenceBatching.Control':
    'kind:1:ModelSequenceBatching.Control.Kind int32_false_true:2:int32[] fp32_false_true:3:float[] data_type:4:DataType bool_false_true:5:bool[]',
  'ModelSequenceBatching.State':
    'input_name:1:string output_name:2:string data_type:3:DataType dims:4:int64[] initial_state:5:ModelSequenceBatching.InitialState[] use_same_buffer_for_input_output:6:bool use_growable_memory:7:bool',
  'ModelSequenceBatching.InitialState': 'data_type:1:DataType dims:2:int64-text[] zero_data:3:bool? data_file:4:string? name:5:string',
  ModelEnsembling: 'step:1:ModelEnsembling.Step[] max_inflight_requests:2:uint32',
  'ModelEnsembling.Step':
    'model_name:1:string model_version:2:int64 input_map:3:map<string,string> output_map:4:map<string,string> model_namespace:5:string when:1001:ModelEnsembling.Condition[] fallback:1002:ModelEnsembling.Fallback? timeout_microseconds:1003:uint64-text',
  'ModelEnsembling.Condition': 'tensor:1:string equals:2:string[] not:3:bool',
  'ModelEnsembling.Fallback':
    'model_name:1:string model_version:2:int64-text input_map:3:map<string,string> output_map:4:map<string,string>',
  ModelInstanceGroup:
    'name:1:string count:2:int32 gpus:3:int32[] kind:4:ModelInstanceGroup.Kind profile:5:string[] rate_limiter:6:ModelRateLimiter? passive:7:bool secondary_devices:8:ModelInstanceGroup.SecondaryDevice[] host_policy:9:string',
  ModelRateLimiter: 'resources:1:ModelRateLimiter.Resource[] priority:2:uint32',
  'ModelRateLimiter.Resource': 'name:1:string global:2:bool count:3:uint32',
  'ModelInstanceGroup.SecondaryDevice': 'kind:1:ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind device_id:2:int64-text',
  ModelParameter: 'string_value:1:string',
  ModelWarmup: 'name:1:string batch_size:2:uint32 inputs:3:map<string,ModelWarmup.Input> count:4:uint32',
  'ModelWarmup.Input': 'data_type:1:DataType dims:2:int64[] zero_data:3:bool? random_data:4:bool? input_data_file:5:string?',
  ModelOperations: 'op_library_filename:1:string[]',
  ModelTransactionPolicy: 'decoupled:1:bool',
  ModelRepositoryAgents: 'agents:1:ModelRepositoryAgents.Agent[]',
  'ModelRepositoryAgents.Agent': 'name:1:string parameters:2:map<string,string>',
  ModelResponseCache: 'enable:1:bool',
  ModelMetrics: 'metric_control:1:ModelMetrics.MetricControl[]',
  'ModelMetrics.MetricControl':
    'metric_identifier:1:ModelMetrics.MetricControl.MetricIdentifier? histogram_options:2:ModelMetrics.MetricControl.HistogramOptions?',
  'ModelMetrics.MetricControl.MetricIdentifier': 'family:1:string',
  'ModelMetrics.MetricControl.HistogramOptions': 'buckets:1:double[]',
  ModelGoldenCheck: 'name:1:string file:2:string absolute_tolerance:3:double relative_tolerance:4:double',
  ModelLearnedBatching: 'disable:1:bool max_queue_time_microseconds:2:uint64-text',
  ModelStatisticsRequest: 'name:1:string version:2:string',
  ModelStatisticsResponse: 'modelStats:1:ModelStatistics[]',
  ModelStatistics:
    'name:1:string version:2:string lastInference:3:uint64 inferenceCount:4:uint64 executionCount:5:uint64 inferenceStats:6:InferStatistics batchStats:7:InferBatchStatistics[] memoryUsage:8:MemoryUsage[] responseStats:9:map<string,InferResponseStatistics>',
  InferStatistics:
    'success:1:StatisticDuration fail:2:StatisticDuration queue:3:StatisticDuration computeInput:4:StatisticDuration computeInfer:5:StatisticDuration computeOutput:6:StatisticDuration cacheHit:7:StatisticDuration cacheMiss:8:StatisticDuration',
  StatisticDuration: 'count:1:uint64 ns:2:uint64',
  InferBatchStatistics:
    'batchSize:1:uint64 computeInput:2:StatisticDuration computeInfer:3:StatisticDuration computeOutput:4:StatisticDuration',
  MemoryUsage: 'type:1:string id:2:int64 byteSize:3:uint64',
  InferResponseStatistics:
    'computeInfer:1:StatisticDuration computeOutput:2:StatisticDuration success:3:StatisticDuration fail:4:StatisticDuration emptyResponse:5:StatisticDuration cancel:6:StatisticDuration',
  RepositoryIndexRequest: 'repositoryName:1:string ready:2:bool',
  RepositoryIndexResponse: 'models:1:RepositoryIndexResponse.ModelIndex[]',
  'RepositoryIndexResponse.ModelIndex': 'name:1:string version:2:string state:3:string reason:4:string',
  RepositoryModelLoadRequest: 'repositoryName:1:string modelName:2:string parameters:3:map<string,ModelRepositoryParameter>',
  ModelRepositoryParameter: 'boolParam:1:bool? int64Param:2:int64? stringParam:3:string? bytesParam:4:bytes?',
  RepositoryModelLoadResponse: '',
  RepositoryModelUnloadRequest: 'repositoryName:1:string modelName:2:string parameters:3:map<string,ModelRepositoryParameter>',
  RepositoryModelUnloadResponse: '',
  SystemSharedMemoryStatusRequest: 'name:1:string',
  SystemSharedMemoryStatusResponse: 'regions:1:map<string,SystemSharedMemoryStatusResponse.RegionStatus>',
  'SystemSharedMemoryStatusResponse.RegionStatus': 'name:1:string key:2:string offset:3:uint64 byteSize:4:uint64',
  SystemSharedMemoryRegisterRequest: 'name:1:string key:2:string offset:3:uint64 byteSize:4:uint64',
  SystemSharedMemoryRegisterResponse: '',
  SystemSharedMemoryUnregisterRequest: 'name:1:string',
  SystemSharedMemoryUnregisterResponse: '',
  CudaSharedMemoryStatusRequest: 'name:1:string',
  CudaSharedMemoryStatusResponse: 'regions:1:map<string,CudaSharedMemoryStatusResponse.RegionStatus>',
  'CudaSharedMemoryStatusResponse.RegionStatus': 'name:1:string deviceId:2:uint64 byteSize:3:uint64',
  CudaSharedMemoryRegisterRequest: 'name:1:string rawHandle:2:bytes deviceId:3:int64 byteSize:4:uint64',
  CudaSharedMemoryRegisterResponse: '',
  CudaSharedMemoryUnregisterRequest: 'name:1:string',
  CudaSharedMemoryUnregisterResponse: '',
  TraceSettingRequest: 'settings:1:map<string,TraceSettingRequest.SettingValue> modelName:2:string',
  'TraceSettingRequest.SettingValue': 'value:1:string[]',
  TraceSettingResponse: 'settings:1:map<string,TraceSettingResponse.SettingValue>',
  'TraceSettingResponse.SettingValue': 'value:1:string[]',
  LogSettingsRequest: 'settings:1:map<string,LogSettingsRequest.SettingValue>',
  'LogSettingsRequest.SettingValue': 'boolParam:1:bool? uint32Param:2:uint32? stringParam:3:string?',
  LogSettingsResponse: 'settings:1:map<string,LogSettingsResponse.SettingValue>',
  'LogSettingsResponse.SettingValue': 'boolParam:1:bool? uint32Param:2:uint32? stringParam:3:string?',
};

export const ENUM_VALUES: Readonly<Record<string, string>> = {
  DataType:
    'TYPE_INVALID=0 TYPE_BOOL=1 TYPE_UINT8=2 TYPE_UINT16=3 TYPE_UINT32=4 TYPE_UINT64=5 TYPE_INT8=6 TYPE_INT16=7 TYPE_INT32=8 TYPE_INT64=9 TYPE_FP16=10 TYPE_FP32=11 TYPE_FP64=12 TYPE_STRING=13 TYPE_BF16=14',
  'ModelInput.Format': 'FORMAT_NONE=0 FORMAT_NHWC=1 FORMAT_NCHW=2',
  'BatchInput.Kind':
    'BATCH_ELEMENT_COUNT=0 BATCH_ACCUMULATED_ELEMENT_COUNT=1 BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO=2 BATCH_MAX_ELEMENT_COUNT_AS_SHAPE=3 BATCH_ITEM_SHAPE=4 BATCH_ITEM_SHAPE_FLATTEN=5',
  'BatchOutput.Kind': 'BATCH_SCATTER_WITH_INPUT_SHAPE=0',
  'ModelOptimizationPolicy.ModelPriority': 'PRIORITY_DEFAULT=0 PRIORITY_MAX=1 PRIORITY_MIN=2',
  'ModelQueuePolicy.TimeoutAction': 'REJECT=0 DELAY=1',
  'ModelSequenceBatching.Control.Kind':
    'CONTROL_SEQUENCE_START=0 CONTROL_SEQUENCE_READY=1 CONTROL_SEQUENCE_END=2 CONTROL_SEQUENCE_CORRID=3',
  'ModelInstanceGroup.Kind': 'KIND_AUTO=0 KIND_GPU=1 KIND_CPU=2 KIND_MODEL=3',
  'ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind': 'KIND_NVDLA=0',
};
