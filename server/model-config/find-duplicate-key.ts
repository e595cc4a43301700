/**
 * The first object key that a JSON text gives twice in one object, or undefined. JSON.parse keeps the last one and says nothing, so a config with
 * two `dynamic_batching` blocks would lose one of them. The text must already have been accepted by JSON.parse.
 */
export function findDuplicateKey(json: string): string | undefined {
  /** Keys seen so far in each open object; null for an open array. */
  const open: (Set<string> | null)[] = [];
  let expectsKey = false;
  for (let at = 0; at < json.length; at++) {
    switch (json.charAt(at)) {
      case '{':
        open.push(new Set());
        expectsKey = true;
        break;
      case '[':
        open.push(null);
        expectsKey = false;
        break;
      case '}':
      case ']':
        open.pop();
        expectsKey = false;
        break;
      case ',':
        expectsKey = open.at(-1) !== null;
        break;
      case '"': {
        const end = endOfString(json, at);
        const keys = open.at(-1);
        if (expectsKey && keys !== null && keys !== undefined) {
          const key: unknown = JSON.parse(json.slice(at, end + 1));
          if (typeof key === 'string') {
            if (keys.has(key)) return key;
            keys.add(key);
          }
          expectsKey = false;
        }
        at = end;
        break;
      }
    }
  }
  return undefined;
}

/** Index of the closing quote of the string that opens at `start`. */
function endOfString(json: string, start: number): number {
  let at = start + 1;
  while (at < json.length && json[at] !== '"') at += json[at] === '\\' ? 2 : 1;
  return at;
}
