/**
 * The model configuration in Triton's words (`model_config.proto`), as backends and server see it: parsed, complete, unset messages null.
 * Data types map to the protocol's with `datatypeFromConfig` and `DATATYPES[...].configName` of proto/datatype.ts.
 */
export type * from '../../proto/gen/model-config.ts';
