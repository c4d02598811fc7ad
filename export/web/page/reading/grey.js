// Stored DICOM values to 8-bit grey, as keras_mscam.images.dicom.grey does it.

import { toLuma } from "./luma.js";
import { applyLut, readLut } from "./lut.js";
import { readNumbers, readShort, readWord, readWords } from "./dicom_values.js";

/**
 * Turn stored values to 8-bit grey, dark for air and bright for bone.
 *
 * Modality LUT or rescale, then the first VOI LUT or else the first window. Without
 * either, values of up to 8 bits are taken as they are, and deeper ones are stretched
 * from minimum to maximum, padding left out. A window in which every pixel of the image
 * is equal counts as none, and so does what makes no sense. MONOCHROME1 is inverted,
 * unless the presentation LUT shape says else; colour becomes luma, or is that already.
 *
 * @param stored values, pixel by pixel.
 * @param {object} header of `dicom.js`.
 * @param {object} dataset of dicom-parser.
 * @returns {Uint8Array}
 */
export function toGrey(stored, header, dataset) {
  if (header.isLuma) return stored;
  if (header.samples === 3) return toLuma(toRgb(stored, header), 3);
  return lookUp(stored, header, dataset);
}

function toRgb(stored, header) {
  const shift = Math.max(header.stored - 8, 0);
  const colours = Uint8Array.from(stored, (value) => value >> shift);
  if (header.photometric === "RGB") return colours;
  for (let at = 0; at < colours.length; at += 3) {
    const y = colours[at];
    const blue = colours[at + 1] - 128;
    const red = colours[at + 2] - 128;
    colours[at] = clamp(y + 1.402 * red);
    colours[at + 1] = clamp(y - 0.344136 * blue - 0.714136 * red);
    colours[at + 2] = clamp(y + 1.772 * blue);
  }
  return colours;
}

function clamp(value) {
  return Math.min(Math.max(Math.floor(value + 0.5), 0), 255);
}

/** Look every stored value up in a table: no pixel is computed twice. */
function lookUp(pixels, header, dataset) {
  let [first, last] = findEnds(pixels);
  if (header.stored <= 8) {
    const lowest = header.signed ? -(2 ** (header.stored - 1)) : 0;
    first = Math.min(first, lowest);
    last = Math.max(last, lowest + 2 ** header.stored - 1);
  }
  const stored = Float64Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const actual = markActual(pixels, stored, first, header, dataset);
  const grey = present(applyModality(stored, header, dataset), actual, header, dataset);
  const inverted = isInverse(header, dataset);
  const table = Uint8Array.from(grey, (value) =>
    Math.floor(255 * (inverted ? 1 - value : value) + 0.5),
  );
  const result = new Uint8Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) result[i] = table[pixels[i] - first];
  return result;
}

/** Whether the lowest value is white: by the presentation LUT shape, if that says. */
export function isInverse(header, dataset) {
  const shape = readWord(dataset, "x20500020");
  if (["IDENTITY", "INVERSE"].includes(shape)) return shape === "INVERSE";
  return header.photometric === "MONOCHROME1";
}

function findEnds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Mark the stored values that the image has, padding left out. */
function markActual(pixels, stored, first, header, dataset) {
  if (header.stored <= 8) return new Uint8Array(stored.length).fill(1);
  const counted = new Uint8Array(stored.length);
  for (const value of pixels) counted[value - first] = 1;
  const value = readShort(dataset, "x00280120", header.signed);
  if (value === undefined) return counted;
  const limit = readShort(dataset, "x00280121", header.signed) ?? value;
  const [low, high] = [Math.min(value, limit), Math.max(value, limit)];
  const actual = counted.map((is, i) => (stored[i] >= low && stored[i] <= high ? 0 : is));
  return actual.some(Boolean) ? actual : counted;
}

function applyModality(stored, header, dataset) {
  const lut = readLut(dataset, "x00283000");
  if (lut) return applyLut(lut, stored);
  const [slope, intercept] = findRescale(dataset) ?? [1, 0];
  return stored.map((value) => value * slope + intercept);
}

/** Return slope and intercept; null without both, or if they make all equal. */
function findRescale(dataset) {
  const slope = readNumbers(dataset, "x00281053");
  const intercept = readNumbers(dataset, "x00281052");
  if (slope.length !== 1 || intercept.length !== 1 || slope[0] === 0) return null;
  return [...slope, ...intercept].every(isModest) ? [...slope, ...intercept] : null;
}

/** Larger numbers would overflow further on. */
function isModest(number) {
  return Math.abs(number) < 1e30;
}

/** Return warnings where rescaling or window can't be meant. */
export function describeGrey(dataset) {
  const found = [];
  const given = (tag) => readWord(dataset, tag) !== "";
  if (!readLut(dataset, "x00283000") && !findRescale(dataset) && given("x00281053")) {
    found.push("Its rescaling makes no sense and is left out.");
  }
  const isWindow = given("x00281050") && given("x00281051");
  if (!readLut(dataset, "x00283010") && !findWindow(dataset) && isWindow) {
    found.push("Its window makes no sense and is left out.");
  }
  return found;
}

/** Scale values to 0..1. */
function present(values, actual, header, dataset) {
  const lut = readLut(dataset, "x00283010");
  const grey = lut
    ? applyLut(lut, values).map((value) => value / (2 ** lut.bits - 1))
    : applyWindow(values, dataset);
  if (grey !== null) {
    const [low, high] = findEnds(grey.filter((_, i) => actual[i]));
    if (high > low) return grey;
  }
  const [low, high] = findEnds(values.filter((_, i) => actual[i]));
  header.isWindowLeftOut = grey !== null && high > low;
  return stretch(values, low, high);
}

/** Apply the first window (PS3.3, C.11.2.1.2 and C.11.2.1.3); null without one. */
function applyWindow(values, dataset) {
  const window = findWindow(dataset);
  if (window === null) return null;
  let [centre, width] = window;
  const shape = readWord(dataset, "x00281056");
  if (shape === "SIGMOID") {
    return values.map((value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width)));
  }
  if (shape !== "LINEAR_EXACT") {
    centre -= 0.5;
    width -= 1;
  }
  return stretch(values, centre - width / 2, centre + width / 2);
}

/** Return centre and width of the first window; null without a width above 0. */
function findWindow(dataset) {
  const [centre, width] = ["x00281050", "x00281051"].map((tag) =>
    Number(readWords(dataset, tag)[0] || NaN),
  );
  return isModest(centre) && isModest(width) && width > 0 ? [centre, width] : null;
}

function stretch(values, low, high) {
  // A window of width 1 is a step behind its centre.
  if (high <= low) return values.map((value) => Number(value > low));
  const range = high - low;
  return values.map((value) => Math.min(Math.max((value - low) / range, 0), 1));
}
