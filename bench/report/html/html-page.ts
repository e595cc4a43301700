import { createHash } from 'node:crypto';
import { Html, html } from './html-text.ts';
import { PAGE_SCRIPT } from './page-script.ts';
import { PAGE_STYLE } from './page-style.ts';

/**
 * One file with everything in it. Its content security policy lets nothing be fetched and no script run but the one here, so that a text of a server that got by the escaping could
 * still do nothing.
 */
export function htmlPage(title: string, body: Html): string {
  const hash = createHash('sha256').update(PAGE_SCRIPT).digest('base64');
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Html(PAGE_STYLE)}</style>
</head>
<body>
<main>
${body}
</main>
<script>${new Html(PAGE_SCRIPT)}</script>
</body>
</html>
`.markup;
}
