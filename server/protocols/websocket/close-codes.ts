/** RFC 6455, 7.4.1: the server is shutting down, or the peer was silent for too long. */
export const GOING_AWAY = 1001;

/**
 * Every code that the server closes a connection with. `docs/websocket.md` and the AsyncAPI document list the same, by a test. Those of errors are
 * `StatusForm.webSocketClose` of the error's code.
 */
export const CLOSE_CODES: Readonly<Record<number, string>> = {
  [GOING_AWAY]: 'the server is shutting down and has answered all it had taken, or nothing came for the idle time',
  1002: 'the peer broke RFC 6455',
  1007: 'a text message is not UTF-8',
  1008: 'a message is in more fragments than the server takes',
  1009: 'a message is larger than the server takes',
  1011: 'a fault of the server; its log has more',
  1013: 'the client sends on and reads none of the answers; it is cut off, so it sees 1006 where it reads again',
  4400: 'a message that cannot be answered in-band: no JSON object, no id, an unknown type, a wrong header length',
  4501: 'a message without an id asks for what the server does not do',
};
