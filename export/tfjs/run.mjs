// Run a model by WebAssembly, to compare it with the Keras model.
//
//     node run.mjs MODEL_JSON FOLDER N,HEIGHT,WIDTH ROUNDS
//
// FOLDER holds images.bin, float32 of these dimensions; NAME.bin is written there for every
// output, and outputs.json with their shapes and the seconds of every round.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { loadGraphModel } from "@tensorflow/tfjs-converter";
import * as tf from "@tensorflow/tfjs-core";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";

async function readBytes(path) {
  const bytes = await readFile(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

async function load(path) {
  const model = JSON.parse(await readFile(path, "utf8"));
  const paths = model.weightsManifest.flatMap((group) => group.paths);
  const shards = await Promise.all(paths.map((name) => readBytes(join(dirname(path), name))));
  return loadGraphModel(
    tf.io.fromMemory({
      modelTopology: model.modelTopology,
      signature: model.signature,
      userDefinedMetadata: model.userDefinedMetadata,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: tf.io.CompositeArrayBuffer.join(shards),
    }),
  );
}

async function runOne(model, pixels, height, width) {
  const image = tf.tensor4d(pixels, [1, height, width, 1]);
  const tensors = model.predict({ image });
  const outputs = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    outputs[name] = { shape: tensor.shape, values: await tensor.data() };
    tensor.dispose();
  }
  image.dispose();
  return outputs;
}

const [path, folder, dimensions, rounds] = process.argv.slice(2);
const [count, height, width] = dimensions.split(",").map(Number);
const require = createRequire(import.meta.url);
setWasmPaths(dirname(require.resolve("@tensorflow/tfjs-backend-wasm")) + "/");
await tf.setBackend("wasm");
await tf.ready();
const model = await load(path);
const images = new Float32Array(await readBytes(join(folder, "images.bin")));

const size = height * width;
const results = [];
for (let row = 0; row < count; row++) {
  const pixels = images.slice(row * size, (row + 1) * size);
  results.push(await runOne(model, pixels, height, width));
}
const seconds = [];
for (let round = 0; round < Number(rounds); round++) {
  const start = performance.now();
  await runOne(model, images.slice(0, size), height, width);
  seconds.push((performance.now() - start) / 1000);
}
const shapes = {};
for (const name of Object.keys(results[0])) {
  const parts = results.map((outputs) => outputs[name]);
  shapes[name] = [count, ...parts[0].shape.slice(1)];
  const bytes = parts.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  await writeFile(join(folder, `${name}.bin`), Buffer.concat(bytes));
}
await writeFile(join(folder, "outputs.json"), JSON.stringify({ shapes, seconds }));
