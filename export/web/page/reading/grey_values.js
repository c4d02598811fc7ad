// Whether grey values can be meant as they are, as keras_mscam.images.grey_values says.

import { resizeArea } from "../maps/resize.js";

const UNIFORM = "All of its pixels have the same grey value.";
const CLIPPED = "Nearly all of its pixels are black or white.";
const DARK =
  "It is too dark: nearly all of its grey values are in the lower half of the range. " +
  "If 16 bits were given and fewer are used, max_value (--max-value) says which " +
  "value is white, such as 4095.";
const BRIGHT =
  "It is too bright: nearly all of its grey values are in the upper half of the range.";
const FLAT = "It has hardly any contrast: its grey values use a small part of the range.";
const INVERTED = "It looks inverted, with bones dark and air bright.";

const CLIPPED_LEVELS = 2;
const CLIPPED_PART = 0.8;
const MIDDLE = 128;
const OTHER_HALF_PART = 0.02;
const FLAT_DEVIATION = 16;
const INVERTED_CORRELATION = -0.3;
const CHEST = [
  -9, -8, -5, 0, 0, -5, -8, -9,
  -2, -1, -3, -1, -1, -3, -1, -2,
  1, 0, -4, -1, -1, -4, 0, 1,
  0, 0, -4, 1, 1, -4, 0, 0,
  -1, 0, -1, 4, 4, -1, 0, -1,
  -3, 1, 3, 6, 6, 3, 1, -3,
  -4, 3, 6, 7, 7, 6, 3, -4,
  -4, 3, 7, 8, 8, 7, 3, -4,
]; // prettier-ignore

/**
 * Say what is odd about the grey values of an X-ray.
 *
 * @param {Uint8Array} pixels as the network gets them.
 * @param {[number, number]} size [height, width].
 * @returns {string[]} sentences.
 */
export function describeValues(pixels, size) {
  if (pixels.every((value) => value === pixels[0])) return [UNIFORM];
  const part = (holds) => pixels.filter(holds).length / pixels.length;
  const bright = part((value) => value >= MIDDLE);
  const clipped = part(
    (value) => value <= CLIPPED_LEVELS || value >= 255 - CLIPPED_LEVELS,
  );
  const found = [];
  if (bright < OTHER_HALF_PART) found.push(DARK);
  else if (bright > 1 - OTHER_HALF_PART) found.push(BRIGHT);
  else if (clipped >= CLIPPED_PART) found.push(CLIPPED);
  else if (Math.sqrt(covary(pixels, pixels)) < FLAT_DEVIATION) found.push(FLAT);
  const small = resizeArea(pixels, size, [8, 8]);
  const scale = Math.sqrt(covary(small, small) * covary(CHEST, CHEST));
  if (scale && covary(small, CHEST) / scale < INVERTED_CORRELATION) found.push(INVERTED);
  return found;
}

function covary(one, other) {
  const means = [average(one), average(other)];
  const sum = one.reduce(
    (sum, value, at) => sum + (value - means[0]) * (other[at] - means[1]), 0,
  ); // prettier-ignore
  return sum / one.length;
}

function average(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
