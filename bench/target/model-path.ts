/** `/v2/models/simple/versions/3`; the path of a model of the V2 protocol over HTTP, behind which come `/infer`, `/ready`, ... '': the version that the server chooses. */
export function modelPath(name: string, version: string): string {
  return `/v2/models/${encodeURIComponent(name)}${version === '' ? '' : `/versions/${encodeURIComponent(version)}`}`;
}
