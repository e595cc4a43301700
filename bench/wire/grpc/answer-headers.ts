/** What a gRPC client needs of a header block. */
export interface AnswerHeaders {
  /** 0: the block has none, as trailers have not. */
  readonly httpStatus: number;
  /** '': none. */
  readonly contentType: string;
  /** -1: none. */
  readonly grpcStatus: number;
  /** Decoded; '': none. */
  readonly grpcMessage: string;
}
