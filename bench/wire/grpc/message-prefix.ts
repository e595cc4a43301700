/** Whether the message is compressed (one byte), and its length (four): what gRPC puts in front of a message. Source: gRPC over HTTP/2, "Length-Prefixed-Message". */
export const PREFIX_BYTES = 5;

/** A message as it goes into DATA frames: not compressed, its length, its bytes. */
export function frameMessage(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}
