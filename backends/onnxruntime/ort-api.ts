/**
 * What we use of ONNX Runtime's C API: each function's place in the `OrtApi` table, its result and its arguments.
 *
 * The table only ever grows at its end, so a place holds for every later release of the library. Pointers and sizes are all `uintptr`, which
 * crosses as a plain number: no wrapper objects, no BigInts, and 0 is NULL. Source: `onnxruntime_c_api.h` of ONNX Runtime, version 24 of the API.
 */

/** The version that the table below was written against; a library that does not know it is refused. */
export const ORT_API_VERSION = 24;

/** What each kind of result is in JavaScript. */
interface Results {
  status: number;
  void: undefined;
  int: number;
  string: string;
}

type Result = keyof Results;
/** p: pointer or size_t; i: 32-bit integer or enumeration. */
type Arguments = string;

/** [place, result, arguments] */
type Entry = readonly [number, Result, Arguments];

export const ortFunctions = {
  /** (status) -> OrtErrorCode */
  GetErrorCode: [1, 'int', 'p'],
  /** (status) -> text that lives as long as the status */
  GetErrorMessage: [2, 'string', 'p'],
  /** (lowest level to log, name of the log, out env) */
  CreateEnv: [3, 'status', 'ipp'],
  /** (env); the library has telemetry of its own, and `load` of ort-library.ts keeps it from starting */
  DisableTelemetryEvents: [6, 'status', 'p'],
  /** (env, path, options, out session) */
  CreateSession: [7, 'status', 'pppp'],
  /** (session, run options, input names, input values, inputs, output names, outputs, output values) */
  Run: [9, 'status', 'pppppppp'],
  /** (out options) */
  CreateSessionOptions: [10, 'status', 'p'],
  /** (options, 0 sequential or 1 parallel) */
  SetSessionExecutionMode: [13, 'status', 'pi'],
  EnableMemPattern: [16, 'status', 'p'],
  DisableMemPattern: [17, 'status', 'p'],
  EnableCpuMemArena: [18, 'status', 'p'],
  DisableCpuMemArena: [19, 'status', 'p'],
  /** (options, level) */
  SetSessionLogSeverityLevel: [22, 'status', 'pi'],
  /** (options, level) */
  SetSessionGraphOptimizationLevel: [23, 'status', 'pi'],
  /** (options, threads) */
  SetIntraOpNumThreads: [24, 'status', 'pi'],
  SetInterOpNumThreads: [25, 'status', 'pi'],
  /** (session, out count) */
  SessionGetInputCount: [30, 'status', 'pp'],
  SessionGetOutputCount: [31, 'status', 'pp'],
  SessionGetOverridableInitializerCount: [32, 'status', 'pp'],
  /** (session, index, out type info: ours to release) */
  SessionGetInputTypeInfo: [33, 'status', 'ppp'],
  SessionGetOutputTypeInfo: [34, 'status', 'ppp'],
  SessionGetOverridableInitializerTypeInfo: [35, 'status', 'ppp'],
  /** (session, index, allocator, out name: the allocator's to free) */
  SessionGetInputName: [36, 'status', 'pppp'],
  SessionGetOutputName: [37, 'status', 'pppp'],
  SessionGetOverridableInitializerName: [38, 'status', 'pppp'],
  /** (allocator, dims, rank, element type, out value): memory of the runtime's own; the only way to make a tensor of strings */
  CreateTensorAsOrtValue: [48, 'status', 'pppip'],
  /** (memory info, data, bytes, dims, rank, element type, out value): the data stays its owner's */
  CreateTensorWithDataAsOrtValue: [49, 'status', 'pppppip'],
  /** (value, out data) */
  GetTensorMutableData: [51, 'status', 'pp'],
  /** (value, array of NUL-terminated strings, elements) */
  FillStringTensor: [52, 'status', 'ppp'],
  /** (value, out bytes of all elements) */
  GetStringTensorDataLength: [53, 'status', 'pp'],
  /** (value, out bytes, their size, out where each element starts, elements) */
  GetStringTensorContent: [54, 'status', 'ppppp'],
  /** (type info, out tensor info, borrowed; NULL when it is no tensor) */
  CastTypeInfoToTensorInfo: [55, 'status', 'pp'],
  /** (type info, out ONNXType) */
  GetOnnxTypeFromTypeInfo: [56, 'status', 'pp'],
  /** (tensor info, out element type) */
  GetTensorElementType: [60, 'status', 'pp'],
  /** (tensor info, out rank) */
  GetDimensionsCount: [61, 'status', 'pp'],
  /** (tensor info, out dims, rank) */
  GetDimensions: [62, 'status', 'ppp'],
  /** (tensor info, out names, borrowed, rank) */
  GetSymbolicDimensions: [63, 'status', 'ppp'],
  /** (value, out tensor info: ours to release) */
  GetTensorTypeAndShape: [65, 'status', 'pp'],
  /** (value, out ONNXType) */
  GetValueType: [67, 'status', 'pp'],
  /** (allocator type, memory type, out memory info) */
  CreateCpuMemoryInfo: [69, 'status', 'iip'],
  /** (allocator, memory) */
  AllocatorFree: [76, 'status', 'pp'],
  /** (out allocator: the runtime's, never released) */
  GetAllocatorWithDefaultOptions: [78, 'status', 'p'],
  ReleaseEnv: [92, 'void', 'p'],
  ReleaseStatus: [93, 'void', 'p'],
  ReleaseSession: [95, 'void', 'p'],
  ReleaseValue: [96, 'void', 'p'],
  ReleaseTypeInfo: [98, 'void', 'p'],
  ReleaseTensorTypeAndShapeInfo: [99, 'void', 'p'],
  ReleaseSessionOptions: [100, 'void', 'p'],
  /** (options, key, value) */
  AddSessionConfigEntry: [130, 'status', 'ppp'],
  /** (value, element, bytes, out memory): makes room in one string for bytes that may hold NULs */
  GetResizedStringTensorElementBuffer: [252, 'status', 'pppp'],
  /** (tensor info) -> 0 when even the rank is unknown, which otherwise reads as a scalar */
  TensorTypeAndShape_HasShape: [390, 'int', 'p'],
} as const satisfies Record<string, Entry>;

export type OrtFunctionName = keyof typeof ortFunctions;

/** A status is 0 when all is well, else an object to hand to `check`. */
export interface OrtFunction<Value> {
  (...values: number[]): Value;
  async(...valuesAndCallback: (number | ((error: Error | null, result: Value) => void))[]): void;
}

export type OrtApi = { readonly [Name in OrtFunctionName]: OrtFunction<Results[(typeof ortFunctions)[Name][1]]> };
