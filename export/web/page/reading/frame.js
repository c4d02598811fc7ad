// What a DICOM header says of its pixels: distances, the exposed field, warnings.

import { isInverse } from "./grey.js";
import { readNumbers, readWord, readWords } from "./dicom_values.js";

/** A field with a shorter side than this part of the image's is held for an error. */
const SHORTEST = 0.25;
const NONSENSE = "Its collimation makes no sense, so all of the image is looked at.";
const CROPPED = "Only the part that its collimation left open is looked at.";

/** First tags of shutter and collimator: shape, left, right, upper and lower edge. */
const DEVICES = ["x001816", "x001817"];

const VIEWS = [
  ["frontal", ["AP", "PA", "FRONTAL"]],
  ["lateral", ["LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LEFT LATERAL",
    "RIGHT LATERAL"]],
  ["oblique", ["LAO", "RAO", "LPO", "RPO", "LLO", "RLO"]],
  ["decubitus", ["LLD", "RLD"]],
]; // prettier-ignore
const CHESTS = ["CHEST", "THORAX", "LUNG", "RIB", "HEART"];

/**
 * Read the frame of an image.
 *
 * @returns {{spacing: ?number[], field: ?number[], warnings: string[]}}
 */
export function readFrame(dataset, header) {
  const { field, warnings } = findExposed(dataset, header);
  return {
    spacing: findSpacing(dataset),
    field,
    warnings: [
      ...describeView(dataset),
      ...describeAspect(dataset),
      ...warnings,
      ...describePixels(dataset, header),
    ],
  };
}

/** Find what rectangular shutter and collimator left open: half-open xyxy, or null. */
function findExposed(dataset, { height, width }) {
  let [left, top, right, bottom] = [0, 0, width, height];
  for (const device of DEVICES) {
    if (!readWords(dataset, `${device}00`).includes("RECTANGULAR")) continue;
    const edges = ["02", "06", "04", "08"].map((tag) =>
      readNumbers(dataset, device + tag),
    );
    if (edges.some((edge) => edge.length !== 1)) {
      return { field: null, warnings: [NONSENSE] };
    }
    const [first, upper, last, lower] = edges.map(([edge]) => Math.trunc(edge));
    [left, top] = [Math.max(left, first - 1), Math.max(top, upper - 1)];
    [right, bottom] = [Math.min(right, last), Math.min(bottom, lower)];
  }
  if (left === 0 && top === 0 && right === width && bottom === height) {
    return { field: null, warnings: [] };
  }
  if (right - left < SHORTEST * width || bottom - top < SHORTEST * height) {
    return { field: null, warnings: [NONSENSE] };
  }
  return { field: [left, top, right, bottom], warnings: [CROPPED] };
}

/** Find millimetres between pixels, [down, across], as near to the patient as known. */
function findSpacing(dataset) {
  const pixel = readPair(dataset, "x00280030");
  const imager = readPair(dataset, "x00181164");
  const calibrated = readWord(dataset, "x00280a02") !== "";
  if (pixel && (calibrated || String(pixel) !== String(imager))) return pixel;
  if (imager) {
    const factor = readNumbers(dataset, "x00181114");
    const known = factor.length === 1 && factor[0] >= 1 && factor[0] < 3;
    return known ? imager.map((side) => side / factor[0]) : imager;
  }
  return readPair(dataset, "x00182010");
}

function readPair(dataset, tag) {
  const numbers = readNumbers(dataset, tag);
  return numbers.length === 2 && Math.min(...numbers) > 0 ? numbers : null;
}

function describeView(dataset) {
  const found = [];
  const position = readWord(dataset, "x00185101");
  const view = VIEWS.find(([, names]) => names.includes(position))?.[0] ?? "";
  if (view === "decubitus") {
    found.push("The patient lay on one side (lateral decubitus).");
  } else if (view && view !== "frontal") {
    found.push(`The view is ${view}; the model is for frontal views.`);
  }
  const part = readWord(dataset, "x00180015");
  if (part && !CHESTS.some((chest) => part.includes(chest))) {
    found.push("It shows another part of the body than the chest.");
  }
  return found;
}

function describeAspect(dataset) {
  const sides = findSpacing(dataset) ?? readPair(dataset, "x00280034") ?? [1, 1];
  const aspect = sides[0] / sides[1];
  if (Math.abs(aspect - 1) < 0.01) return [];
  const times = Number(aspect.toPrecision(3));
  return [`Its pixels are not square: they are ${times} times as high as wide.`];
}

function describePixels(dataset, header) {
  const found = [];
  if (readWord(dataset, "x00080068") === "FOR PROCESSING") {
    found.push("It is raw data for processing, not for presentation.");
  }
  const isWhite = header.photometric === "MONOCHROME1";
  if (header.samples === 1 && isInverse(header, dataset) !== isWhite) {
    found.push("Its header contradicts itself on whether black is white.");
  }
  if (readWord(dataset, "x00282110") === "01") found.push("It was compressed with loss.");
  if (readWord(dataset, "x00280301") === "YES") {
    found.push("There is text in the image, perhaps the patient's name.");
  }
  return found;
}
