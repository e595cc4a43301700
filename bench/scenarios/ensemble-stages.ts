/**
 * `npm run bench:ensemble`: what a stage of an ensemble costs, with models of a few microseconds on the gateway's own loop (`--execution-host=inline`).
 *
 * One keep-alive connection, one request at a time, in rounds that take every lane in turn. Per round: (p50 of the ensemble of three - p50 of the model alone) / 2 added stages, less what the model itself
 * runs, which is its compute_infer by the server's statistics over the round. What is left: routing, validation, queue, batch, split and the passing of tensors of one more step, and its share of the ensemble.
 * BENCH_ROUNDS (15), BENCH_SECONDS for each lane of a round (0.5); SMALL=1 for three short ones.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { identity } from '../models/test-models.ts';
import { serveModels } from './child.ts';
import { median, PingPong, postRequest, quantile } from './http-client.ts';

const isSmall = process.env['SMALL'] === '1';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? (isSmall ? 3 : 15));
const durationMs = 1000 * Number(process.env['BENCH_SECONDS'] ?? (isSmall ? 0.1 : 0.5));
const WANTED_US = 10;
const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));

function put(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), content);
}

/** `stages` models behind one another; with `isWide`, side by side, all from the same input. */
function ensemble(name: string, stages: number, isWide = false): void {
  const tensor = (one: string): string => `{name: ${one}, data_type: TYPE_FP32, dims: [16]}`;
  const outputs = isWide ? Array.from({ length: stages }, (_, at) => `OUT${at}`) : ['OUT'];
  const steps = Array.from({ length: stages }, (_, at) => {
    const from = at === 0 || isWide ? 'INPUT0' : `x${at - 1}`;
    const to = isWide ? `OUT${at}` : at === stages - 1 ? 'OUT' : `x${at}`;
    return `    - {model_name: m${at}, model_version: -1, input_map: {INPUT0: ${from}}, output_map: {OUTPUT0: ${to}}}\n`;
  });
  put(
    `${name}/config.yaml`,
    `platform: ensemble\nmax_batch_size: 8\ninput: [${tensor('INPUT0')}]\noutput: [${outputs.map(tensor).join(', ')}]\nensemble_scheduling:\n  step:\n${steps.join('')}`,
  );
  put(`${name}/1/.keep`, '');
}

for (const at of [0, 1, 2]) {
  put(`m${at}/1/model.onnx`, identity('FP32'));
  put(`m${at}/config.yaml`, 'max_batch_size: 8\n');
}
ensemble('one', 1);
ensemble('three', 3);
ensemble('wide', 3, true);

const lanes = ['m0', 'one', 'three', 'wide'] as const;
const values = Buffer.from(new Float32Array(16).fill(1).buffer);
const server = await serveModels(folder, '--execution-host=inline');
const p50 = new Map<string, number[]>(lanes.map((lane) => [lane, []]));
const runs: number[] = [];
const stageCosts: number[] = [];
try {
  const clients = new Map<string, PingPong>();
  for (const lane of lanes) {
    const header = Buffer.from(
      JSON.stringify({
        inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 16], parameters: { binary_data_size: values.length } }],
        parameters: { binary_data_output: true },
      }),
    );
    const headers = { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(header.length) };
    const client = await PingPong.connect(server.port, postRequest(`/v2/models/${lane}/infer`, headers, Buffer.concat([header, values])));
    await client.run(isSmall ? 200 : 1000);
    clients.set(lane, client);
  }
  let inferBefore = await inferOf('m0');
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[(i + round) % lanes.length]!;
      p50.get(lane)!.push(median(await clients.get(lane)!.run(durationMs)));
    }
    const infer = await inferOf('m0');
    runs.push((infer.ns - inferBefore.ns) / (infer.count - inferBefore.count) / 1000);
    inferBefore = infer;
    stageCosts.push((p50.get('three')!.at(-1)! - p50.get('m0')!.at(-1)!) / 2 - runs.at(-1)!);
  }
  for (const client of clients.values()) client.close();
} finally {
  await server.stop();
  rmSync(folder, { recursive: true });
}

async function inferOf(model: string): Promise<{ ns: number; count: number }> {
  const answer = await fetch(`http://127.0.0.1:${server.port}/v2/models/${model}/stats`);
  const { model_stats } = (await answer.json()) as { model_stats: { inference_stats: { compute_infer: { ns: number; count: number } } }[] };
  return model_stats[0]!.inference_stats.compute_infer;
}

const us = (lane: string): string => median(p50.get(lane)!).toFixed(1);
const cost = median(stageCosts);
process.stdout.write(
  `${cpus().length} cores, Node ${process.version}; ${rounds} rounds of ${durationMs} ms a lane, inline hosts, FP32 [1,16] in binary, c=1; medians of the rounds' p50, us\n` +
    `the model alone ${us('m0')} (its run ${median(runs).toFixed(1)}), an ensemble of one ${us('one')}, of three behind one another ${us('three')}, of three side by side ${us('wide')}\n` +
    `an added stage, without the model's own run: ${cost.toFixed(1)} us (quartiles ${quantile(stageCosts, 0.25).toFixed(1)} to ${quantile(stageCosts, 0.75).toFixed(1)}); wanted ${WANTED_US}: ${cost <= WANTED_US ? 'met' : 'NOT MET'}\n`,
);
