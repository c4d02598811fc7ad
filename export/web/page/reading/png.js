// PNG to 8-bit grey, as keras_mscam.images.png_jpeg reads it.
//
// Not by the browser's own decoder: what a canvas gives back is rounded (16 bits),
// multiplied by alpha, and in some browsers changed on purpose, against fingerprinting.

import { isTurned } from "./exif.js";
import { ImageError } from "./image_error.js";
import { mixLuma } from "./luma.js";
import { readChunks } from "./png_chunks.js";

const DAMAGED = "is damaged: its pixels cannot be decoded";

const PALETTE = 3; // a kind of colour
const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // of a pixel, by kind of colour

/** First column and row, and steps along both, of the passes of an image. */
const WHOLE = [[0, 0, 1, 1]];
const ADAM7 = [
  [0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2],
  [0, 1, 1, 2],
]; // prettier-ignore

/** What a filter expects of a byte, by those to the left, above, and left above. */
const PREDICTORS = [
  () => 0,
  (left) => left,
  (left, above) => above,
  (left, above) => (left + above) >> 1,
  predictPaeth,
];

/**
 * Decode to 8-bit grey.
 *
 * Colour becomes luma, alpha is dropped, of 16 bits the upper 8 are kept; colour
 * management is ignored.
 *
 * @param {Uint8Array} bytes of the file.
 * @returns {Promise<{pixels: Uint8Array, size: [number, number], turned: boolean}>}
 *     `turned` where EXIF data ask for a rotation, which is not followed.
 * @throws {ImageError}
 */
export async function readPng(bytes) {
  const file = readChunks(bytes);
  const passes = measurePasses(file);
  const length = passes.reduce((sum, { rows, stride }) => sum + rows * stride, 0);
  const content = await inflate(file.compressed, length);
  const pixels = new Uint8Array(file.width * file.height);
  let at = 0;
  for (const pass of passes) {
    readPass(content.subarray(at), file, pass, pixels);
    at += pass.rows * pass.stride;
  }
  return { pixels, size: [file.height, file.width], turned: isTurned(file.exif) };
}

/** Measure each pass that has pixels; `stride` is a row in bytes, its filter ahead. */
function measurePasses({ width, height, depth, colour, interlaced }) {
  const passes = (interlaced ? ADAM7 : WHOLE).map(([left, top, across, down]) => {
    const columns = Math.max(0, Math.ceil((width - left) / across));
    const rows = Math.max(0, Math.ceil((height - top) / down));
    const stride = 1 + Math.ceil((columns * SAMPLES[colour] * depth) / 8);
    return { left, top, across, down, columns, rows, stride };
  });
  return passes.filter(({ columns, rows }) => columns && rows);
}

async function inflate(parts, length) {
  const stream = new Blob(parts).stream();
  const reader = stream.pipeThrough(new DecompressionStream("deflate")).getReader();
  const content = new Uint8Array(length);
  try {
    for (let at = 0; at < length; ) {
      const { value, done } = await reader.read();
      if (done) throw new Error("Incomplete");
      content.set(value.subarray(0, length - at), at);
      at += value.length;
    }
  } catch (error) {
    throw new ImageError(DAMAGED, { cause: error });
  }
  reader.cancel().catch(() => {}); // what comes behind the pixels doesn't matter
  return content;
}

function readPass(content, file, pass, pixels) {
  const { left, top, across, down, columns, rows, stride } = pass;
  const step = Math.ceil((SAMPLES[file.colour] * file.depth) / 8);
  let above = new Uint8Array(stride - 1);
  for (let row = 0; row < rows; row++) {
    const start = row * stride;
    const line = content.subarray(start + 1, start + stride);
    unfilter(content[start], line, above, step);
    const offset = (top + row * down) * file.width + left;
    const grey = toGrey(unpack(line, file.depth), file, columns);
    for (let i = 0; i < columns; i++) pixels[offset + i * across] = grey[i];
    above = line;
  }
}

function unfilter(filter, line, above, step) {
  if (filter === 0) return;
  const predict = PREDICTORS[filter];
  if (!predict) throw new ImageError(DAMAGED);
  for (let i = 0; i < line.length; i++) {
    const isFirst = i < step;
    const left = isFirst ? 0 : line[i - step];
    line[i] += predict(left, above[i], isFirst ? 0 : above[i - step]);
  }
}

function predictPaeth(left, above, corner) {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** Return the samples of a line, the most significant bits first. */
function unpack(line, depth) {
  if (depth === 8) return line;
  if (depth === 16) {
    const { length } = line;
    return Uint16Array.from({ length: length / 2 }, (_, i) => 256 * line[2 * i] + line[2 * i + 1]);
  }
  const each = 8 / depth;
  const last = 2 ** depth - 1;
  return Uint8Array.from({ length: line.length * each }, (_, i) => {
    const place = 8 - depth * ((i % each) + 1);
    return (line[Math.floor(i / each)] >> place) & last;
  });
}

function toGrey(samples, { colour, depth, palette }, columns) {
  const step = SAMPLES[colour];
  const grey = new Uint8Array(columns);
  const factor = depth < 8 ? 255 / (2 ** depth - 1) : 1;
  const shift = depth === 16 ? 8 : 0;
  for (let i = 0, at = 0; i < columns; i++, at += step) {
    if (colour === PALETTE) grey[i] = mixLuma(palette, 3 * samples[at]);
    else if (step < 3) grey[i] = (samples[at] * factor) >> shift;
    else grey[i] = mixLuma(samples, at) >> shift;
  }
  return grey;
}
