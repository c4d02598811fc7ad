// Stored DICOM values to 8-bit grey, as keras_mscam.dicom.grey does it.

import { toLuma } from "./luma.js";
import { applyLut, readLut } from "./lut.js";
import { readNumbers, readShort, readWord } from "./dicom_values.js";

/**
 * Turn stored values to 8-bit grey, dark for air and bright for bone.
 *
 * Modality LUT or rescale, then the first VOI LUT or else the first window. Without
 * either, values of up to 8 bits are taken as they are, and deeper ones are stretched
 * from minimum to maximum, padding left out. A window in which every pixel of the image
 * is equal counts as none. MONOCHROME1 is inverted, unless the presentation LUT shape says else; colour becomes luma.
 *
 * @param stored values, pixel by pixel.
 * @param {object} header of `dicom.js`.
 * @param {object} dataset of dicom-parser.
 * @returns {Uint8Array}
 */
export function toGrey(stored, header, dataset) {
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
  const lut = readLut(dataset, "x00283000", header.signed);
  if (lut) return stored.map((value) => applyLut(lut, value));
  const [slope] = readNumbers(dataset, "x00281053");
  const [intercept] = readNumbers(dataset, "x00281052");
  if (slope === undefined || intercept === undefined) return stored;
  return stored.map((value) => value * slope + intercept);
}

/** Scale values to 0..1. */
function present(values, actual, header, dataset) {
  const lut = readLut(dataset, "x00283010", header.signed);
  const grey = lut
    ? values.map((value) => lookUpFraction(lut, value))
    : applyWindow(values, dataset);
  if (grey !== null) {
    const [low, high] = findEnds(grey.filter((_, i) => actual[i]));
    if (high > low) return grey;
  }
  return stretch(values, ...findEnds(values.filter((_, i) => actual[i])));
}

/** Apply the first window (PS3.3, C.11.2.1.2 and C.11.2.1.3); null without one. */
function applyWindow(values, dataset) {
  let [centre] = readNumbers(dataset, "x00281050");
  let [width] = readNumbers(dataset, "x00281051");
  if (centre === undefined || !(width > 0)) return null;
  const shape = readWord(dataset, "x00281056") || "LINEAR";
  if (shape === "SIGMOID") {
    return values.map((value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width)));
  }
  if (shape === "LINEAR") {
    centre -= 0.5;
    width -= 1;
  }
  return stretch(values, centre - width / 2, centre + width / 2);
}

function stretch(values, low, high) {
  // A window of width 1 is a step behind its centre.
  const range = Math.max(high - low, 1e-9);
  return values.map((value) => Math.min(Math.max((value - low) / range, 0), 1));
}

function lookUpFraction(lut, value) {
  return Math.min(applyLut(lut, roundHalfEven(value)) / (2 ** lut.bits - 1), 1);
}

function roundHalfEven(value) {
  const near = Math.round(value);
  return Math.abs(value % 1) === 0.5 && near % 2 ? near - 1 : near;
}
