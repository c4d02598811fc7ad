// Run functions of the page on cases from the standard input; answers go to the output.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const site = process.argv[2];
const load = (file) => import(pathToFileURL(`${site}/${file}`));
const here = createRequire(import.meta.url);
globalThis.dicomParser = here(
  "../../export/web/node_modules/dicom-parser/dist/dicomParser.min.js",
);

const { resizeArea, resizeBilinear } = await load("maps/resize.js");
const { computeHeatmap, normalizeMap } = await load("maps/heatmap.js");
const { findBoxes } = await load("maps/boxes.js");
const { toLuma } = await load("reading/luma.js");
const { readImage } = await load("reading/read_image.js");
const { describeValues } = await load("reading/grey_values.js");
const { ImageError } = await load("reading/image_error.js");
const { INFERNO } = await load("view/inferno.js");

const KINDS = {
  area: ({ pixels, from, to }) => resizeArea(Uint8Array.from(pixels), from, to),
  bilinear: ({ values, from, to }) => resizeBilinear(Float32Array.from(values), from, to),
  normalize: ({ cam, normalization, unit }) =>
    normalizeMap(Float32Array.from(cam, (value) => value ?? NaN), normalization, unit),
  heatmap: ({ contract, cams, column }) => {
    const outputs = Object.fromEntries(
      Object.entries(cams).map(([name, { data, shape }]) => [
        name,
        { data: Float32Array.from(data), shape },
      ]),
    );
    return computeHeatmap(contract, outputs, column);
  },
  boxes: ({ contract, heatmap, threshold, field, probability }) =>
    findBoxes(contract, Float32Array.from(heatmap), threshold, field, probability),
  luma: ({ colours, channels }) => toLuma(Uint8Array.from(colours), channels),
  values: ({ pixels, size }) => describeValues(Uint8Array.from(pixels), size),
  inferno: () => INFERNO,
  read: async ({ bytes }) => {
    try {
      const xray = await readImage(Uint8Array.from(bytes));
      return { ...xray, pixels: Array.from(xray.pixels) };
    } catch (error) {
      if (error instanceof ImageError) return { error: error.message };
      throw error;
    }
  },
};

const answers = [];
for (const item of JSON.parse(readFileSync(0, "utf8"))) {
  const answer = await KINDS[item.kind](item);
  answers.push(ArrayBuffer.isView(answer) ? Array.from(answer) : answer);
}
process.stdout.write(JSON.stringify(answers));
