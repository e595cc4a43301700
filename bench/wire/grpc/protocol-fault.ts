/** The server broke the rules of HTTP/2 or HPACK: the connection cannot go on. The message is for the user. */
export class ProtocolFault extends Error {}
