/**
 * Serves index.html and the built modules of @nereid/client to a browser on this machine. Any web server for static files does the same.
 *
 *     npm run build
 *     node dist/server/main.js serve --model-repository model-repository --http-allow-origin http://127.0.0.1:8080 &
 *     node dist/clients/typescript/examples/browser/serve.js [8080]
 */

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const built = new URL('../../../../', import.meta.url);
const page = new URL('../clients/typescript/examples/browser/index.html', built);
/** What the page may have of the build, by its path: the client's modules and proto's. */
const MODULE = /^\/client\/((?:clients\/typescript\/src|proto)\/[a-z0-9/-]+\.js)$/;

const server = createServer((request, response) => {
  const pathname = request.url!.split('?')[0]!;
  const module = MODULE.exec(pathname)?.[1];
  const file = pathname === '/' ? page : module === undefined ? null : new URL(module, built);
  if (file === null) {
    response.writeHead(404).end();
    return;
  }
  response.setHeader('content-type', file === page ? 'text/html; charset=utf-8' : 'text/javascript');
  readFile(file).then(
    (bytes) => response.end(bytes),
    () => response.writeHead(404).end(`${pathname} is not there: npm run build\n`),
  );
});

server.listen(Number(process.argv[2] ?? 8080), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});
