import { type Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { fromJSON, loadFileDescriptorSetFromBuffer, type PackageDefinition } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import descriptorExtension from 'protobufjs/ext/descriptor.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import type { ServerReflectionResponse } from '../../../proto/gen/reflection.ts';
import { startGrpcTransport } from '../../transports/grpc/grpc-transport.ts';
import { LOCAL_OPTIONS } from '../../transports/grpc/local-options.case.ts';
import type { RpcMethod, RpcTransport } from '../../transports/rpc-call.ts';
import { grpcReflectionMethods } from './reflection-methods.ts';

const SERVICE = 'inference.GRPCInferenceService';
const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const inferRequest = root.lookupType('inference.ModelInferRequest');
const inferResponse = root.lookupType('inference.ModelInferResponse');

const methods: RpcMethod[] = [
  {
    kind: 'unary',
    path: `/${SERVICE}/ModelInfer`,
    handle: (call) => {
      const { modelName, id, parameters, rawInputContents } = inferRequest.toObject(inferRequest.decode(call.message), { longs: Number });
      call.respond(
        inferResponse.encode(inferResponse.fromObject({ modelName, id, parameters, rawOutputContents: rawInputContents })).finish(),
      );
    },
  },
];
let transport: RpcTransport;
const clients: Client[] = [];
const faults: unknown[] = [];

beforeAll(async () => {
  transport = await startGrpcTransport({
    ...LOCAL_OPTIONS,
    methods: [...methods, ...grpcReflectionMethods(methods)],
    onError: (error) => faults.push(error),
  });
});
afterAll(async () => {
  for (const client of clients) client.close();
  await transport.close();
  expect(faults).toEqual([]);
});

function makeClient(definition: PackageDefinition, service: string): Client {
  let at: unknown = loadPackageDefinition(definition);
  for (const part of service.split('.')) at = (at as Record<string, unknown>)[part];
  const client = new (at as ServiceClientConstructor)(`localhost:${transport.port}`, credentials.createInsecure());
  clients.push(client);
  return client;
}

/** The answers to requests on one stream. */
function reflect(version: string, requests: readonly object[]): Promise<ServerReflectionResponse[]> {
  const client = makeClient(fromJSON(descriptor, { enums: String }), `grpc.reflection.${version}.ServerReflection`);
  const call = (client as unknown as { ServerReflectionInfo(): ReturnType<Client['makeBidiStreamRequest']> }).ServerReflectionInfo();
  const answers: ServerReflectionResponse[] = [];
  return new Promise((resolve, reject) => {
    call.on('data', (answer: ServerReflectionResponse) => answers.push(answer));
    call.on('error', reject);
    call.on('end', () => resolve(answers));
    for (const request of requests) call.write(request);
    call.end();
  });
}

async function filesFor(symbol: string): Promise<Uint8Array[]> {
  const [answer] = await reflect('v1', [{ fileContainingSymbol: symbol }]);
  return answer!.fileDescriptorResponse!.fileDescriptorProto;
}

describe.each(['v1', 'v1alpha'])('%s', (version) => {
  test('lists the services', async () => {
    const [answer] = await reflect(version, [{ host: 'here', listServices: '' }]);
    expect(answer).toMatchObject({ validHost: 'here', originalRequest: { host: 'here' } });
    expect(answer!.listServicesResponse!.service.map(({ name }) => name)).toEqual([
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
      SERVICE,
    ]);
  });

  test('answers what is not there in the stream, and goes on', async () => {
    const answers = await reflect(version, [
      { fileContainingSymbol: 'inference.GRPCInferenceServise' },
      { fileByFilename: 'none.proto' },
      { fileContainingExtension: { containingType: 'inference.ModelInferRequest', extensionNumber: 1 } },
      { allExtensionNumbersOfType: 'inference.ModelInferRequest' },
      {},
      { fileByFilename: 'health.proto' },
    ]);
    expect(answers.map(({ errorResponse }) => errorResponse?.errorCode)).toEqual([5, 5, 5, 5, 3, undefined]);
    expect(answers[0]!.errorResponse!.errorMessage).toContain(`did you mean '${SERVICE}'?`);
  });
});

describe('descriptors', () => {
  test('a client made of nothing else calls the server', async () => {
    const set = descriptorExtension.FileDescriptorSet.encode({
      file: (await filesFor(SERVICE)).map((bytes) => descriptorExtension.FileDescriptorProto.decode(bytes)),
    }).finish();
    const client = makeClient(loadFileDescriptorSetFromBuffer(Buffer.from(set), { keepCase: true, longs: Number }), SERVICE);
    const request = {
      model_name: 'm',
      id: 'i',
      // proto-loader leaves a map as the entries that it is on the wire.
      parameters: [
        { key: 'priority', value: { int64_param: 7 } },
        { key: 'on', value: { bool_param: true } },
      ],
      raw_input_contents: [Buffer.from([1, 2, 3])],
    };
    const infer = (
      client as unknown as { ModelInfer(request: object, done: (error: Error | null, answer: unknown) => void): void }
    ).ModelInfer.bind(client);
    const answer = await new Promise((resolve, reject) =>
      infer(request, (error, value) => (error === null ? resolve(value) : reject(error))),
    );
    expect(answer).toMatchObject({
      model_name: 'm',
      id: 'i',
      parameters: request.parameters,
      raw_output_contents: [Buffer.from([1, 2, 3])],
    });
  });

  test.each([
    'inference.ModelInferRequest',
    'inference.ModelInferRequest.InferInputTensor.datatype',
    'inference.GRPCInferenceService.ModelStreamInfer',
    'inference.ModelInferRequest.raw_input_contents',
  ])('%s is in the file of the service, which comes before what it imports', async (symbol) => {
    const names = (await filesFor(symbol)).map((bytes) => Reflect.get(descriptorExtension.FileDescriptorProto.decode(bytes), 'name'));
    expect(names).toEqual(['inference_service.proto', 'model_config.proto']);
  });

  test('an enum value is a symbol of the scope around its enum', async () => {
    const [file] = await filesFor('inference.TYPE_FP32');
    expect(Reflect.get(descriptorExtension.FileDescriptorProto.decode(file!), 'name')).toBe('model_config.proto');
  });

  test('a reader that knows maps finds them', async () => {
    const file = (await filesFor(SERVICE)).map((bytes) => descriptorExtension.FileDescriptorProto.decode(bytes));
    const read = protobuf.Root.fromDescriptor(descriptorExtension.FileDescriptorSet.encode({ file }).finish()).resolveAll();
    expect(read.lookupType('inference.ModelInferRequest').fields['parameters']).toBeInstanceOf(protobuf.MapField);
    expect(Object.keys(read.lookupService(SERVICE).methods)).toHaveLength(20);
    // Every message is there, field by field.
    for (const type of [
      'inference.ModelConfig',
      'inference.ModelInferResponse',
      'inference.ModelStatisticsResponse',
      'inference.ModelSequenceBatching',
    ]) {
      const fields = ({ fieldsArray }: protobuf.Type): unknown[] =>
        fieldsArray.map(({ id, type, name, repeated }) => [id, type.split('.').at(-1), name, repeated]);
      expect(fields(read.lookupType(type))).toEqual(fields(root.lookupType(type)));
    }
  });

  test('map entries are named as protoc names them', async () => {
    const [file] = await filesFor('inference.ModelInferRequest');
    const plain = descriptorExtension.FileDescriptorProto.toObject(descriptorExtension.FileDescriptorProto.decode(file!)) as {
      messageType: {
        name: string;
        field: { name: string; typeName?: string; label: string }[];
        nestedType: { name: string; options?: object }[];
      }[];
    };
    const message = plain.messageType.find(({ name }) => name === 'ModelInferRequest')!;
    expect(message.field.find(({ name }) => name === 'parameters')).toMatchObject({
      label: 3,
      typeName: '.inference.ModelInferRequest.ParametersEntry',
    });
    expect(message.nestedType.find(({ name }) => name === 'ParametersEntry')).toMatchObject({ options: { mapEntry: true } });
  });
});
