// What a DICOM header says of its pixels: distances, the exposed field, warnings.

import { describeGrey, isInverse } from "./grey.js";
import { readNumbers, readWord, readWords } from "./dicom_values.js";

/** A field with a shorter side than this part of the image's is held for an error. */
const SHORTEST = 0.25;
const NONSENSE = "Its collimation makes no sense, so all of the image is looked at.";
const CROPPED = "Only the part that its collimation left open is looked at.";
const AROUND =
  "Only the rectangle around what its collimation left open is looked at.";

/** First tags of shutter and collimator. */
const DEVICES = ["x001816", "x001817"];
const SHAPES = {
  RECTANGULAR: findRectangle,
  CIRCULAR: surroundCircle,
  POLYGONAL: surroundPolygon,
};

const VIEWS = [
  ["frontal", ["AP", "PA", "FRONTAL"]],
  ["lateral", ["LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LEFT LATERAL",
    "RIGHT LATERAL"]],
  ["oblique", ["LAO", "RAO", "LPO", "RPO", "LLO", "RLO"]],
  ["decubitus", ["LLD", "RLD"]],
]; // prettier-ignore
/** Of the main directions of rows and columns, and the planes of two of them. */
const AXES = { L: "R", R: "R", A: "P", P: "P", H: "F", F: "F" };
const PLANES = { FR: "frontal", FP: "lateral", PR: "axial" };
const CHESTS = ["CHEST", "THORAX", "LUNG", "RIB", "HEART", "TORAX",
  "TORACE", "PECHO", "BRUST"]; // prettier-ignore
const NO_PARTS = ["", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "OTHER", "NONE"];

/**
 * Read the frame of an image.
 *
 * @returns {{spacing: ?number[], plane: ?string, field: ?number[],
 *     warnings: string[]}}
 */
export function readFrame(dataset, header) {
  const { field, warnings } = findExposed(dataset, header);
  return {
    ...findSpacing(dataset),
    field,
    warnings: [
      ...describeView(dataset),
      ...describeAspect(dataset),
      ...warnings,
      ...describePixels(dataset, header),
    ],
  };
}

/**
 * Find what shutter and collimator left open: half-open xyxy, or null. Of circles and
 * polygons it is the rectangle around them.
 */
function findExposed(dataset, { height, width }) {
  let [left, top, right, bottom] = [0, 0, width, height];
  let said = CROPPED;
  for (const device of DEVICES) {
    for (const shape of readWords(dataset, `${device}00`)) {
      if (!(shape in SHAPES)) continue;
      const box = SHAPES[shape](dataset, device);
      if (box === null) return { field: null, warnings: [NONSENSE] };
      [left, top] = [Math.max(left, box[0]), Math.max(top, box[1])];
      [right, bottom] = [Math.min(right, box[2]), Math.min(bottom, box[3])];
      if (shape !== "RECTANGULAR") said = AROUND;
    }
  }
  if (left === 0 && top === 0 && right === width && bottom === height) {
    return { field: null, warnings: [] };
  }
  if (right - left < SHORTEST * width || bottom - top < SHORTEST * height) {
    return { field: null, warnings: [NONSENSE] };
  }
  return { field: [left, top, right, bottom], warnings: [said] };
}

/** Edges are counted from 1, and belong to the field. */
function findRectangle(dataset, device) {
  const edges = ["02", "06", "04", "08"].map((tag) =>
    readNumbers(dataset, device + tag),
  );
  if (edges.some((edge) => edge.length !== 1)) return null;
  const [left, top, right, bottom] = edges.map(([edge]) => Math.trunc(edge));
  return [left - 1, top - 1, right, bottom];
}

/** The radius is counted along a row. */
function surroundCircle(dataset, device) {
  const centre = readNumbers(dataset, `${device}10`);
  const radius = readNumbers(dataset, `${device}12`);
  if (centre.length !== 2 || radius.length !== 1) return null;
  const [row, column] = centre;
  const [across] = radius;
  const down = across / findAspect(dataset);
  return [
    Math.floor(column - 0.5 - across),
    Math.floor(row - 0.5 - down),
    Math.ceil(column - 0.5 + across),
    Math.ceil(row - 0.5 + down),
  ];
}

function surroundPolygon(dataset, device) {
  const numbers = readNumbers(dataset, `${device}20`);
  if (numbers.length < 6 || numbers.length % 2) return null;
  const rows = numbers.filter((_, i) => i % 2 === 0);
  const columns = numbers.filter((_, i) => i % 2);
  return [
    Math.min(...columns) - 1, Math.min(...rows) - 1,
    Math.max(...columns), Math.max(...rows),
  ]; // prettier-ignore
}

/**
 * Find millimetres between pixels, [down, across], as near to the patient as known, and
 * the plane: "patient", "detector", "film", or null where the file doesn't say.
 */
function findSpacing(dataset) {
  const pixel = readPair(dataset, "x00280030");
  const imager = readPair(dataset, "x00181164");
  const film = readPair(dataset, "x00182010");
  const calibrated = readWord(dataset, "x00280a02") !== "";
  const isCopy = [imager, film].some((other) => String(pixel) === String(other));
  if (pixel && (calibrated || !isCopy)) {
    return { spacing: pixel, plane: calibrated || imager || film ? "patient" : null };
  }
  if (imager) {
    const factor = readNumbers(dataset, "x00181114");
    const known = factor.length === 1 && factor[0] >= 1 && factor[0] < 3;
    if (!known) return { spacing: imager, plane: "detector" };
    return { spacing: imager.map((side) => side / factor[0]), plane: "patient" };
  }
  return { spacing: film, plane: film ? "film" : null };
}

/** Return the height of a pixel over its width, 1 where the file says nothing. */
function findAspect(dataset) {
  const { spacing } = findSpacing(dataset);
  const sides = spacing ?? readPair(dataset, "x00280034") ?? [1, 1];
  return sides[0] / sides[1];
}

/** Return two positive numbers that can be sides of a pixel, or null. */
function readPair(dataset, tag) {
  const numbers = readNumbers(dataset, tag);
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  return numbers.length === 2 && least > 1e-6 && most < 1e6 ? numbers : null;
}

function describeView(dataset) {
  const found = [];
  const position = readWord(dataset, "x00185101");
  const orientation = readWords(dataset, "x00200020").map((word) => word[0] ?? "");
  const axes = orientation.length === 2 ? orientation.map((main) => AXES[main]) : [];
  const plane = PLANES[axes.sort().join("")] ?? "";
  const view = VIEWS.find(([, names]) => names.includes(position))?.[0] ?? plane;
  if (view === "decubitus") {
    found.push("The patient lay on one side (lateral decubitus).");
  } else if (view && view !== "frontal") {
    found.push(`The view is ${view}; the model is for frontal views.`);
  } else if (plane === "frontal" && orientation.join("") !== "LF") {
    found.push("The image is mirrored or turned.");
  }
  const part = readWord(dataset, "x00180015");
  if (!NO_PARTS.includes(part) && !CHESTS.some((chest) => part.includes(chest))) {
    found.push("It shows another part of the body than the chest.");
  }
  return found;
}

function describeAspect(dataset) {
  const aspect = findAspect(dataset);
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
  if (header.samples === 1) found.push(...describeGrey(dataset));
  if (header.isWindowLeftOut) {
    found.push("Its window shows all of it in one grey value and is left out.");
  }
  if (header.isLarger && !hasOverlayInPixels(dataset)) {
    found.push("Its values are larger than its header says, so they are cut.");
  }
  if (readWord(dataset, "x00282110") === "01") found.push("It was compressed with loss.");
  if (readWord(dataset, "x00280301") === "YES") {
    found.push("There is text in the image, perhaps the patient's name.");
  }
  return found;
}

/** Old files keep overlays in bits of their own, above the stored ones. */
function hasOverlayInPixels(dataset) {
  return Object.keys(dataset.elements).some(
    (tag) => /^x60[01].0102$/.test(tag) && dataset.uint16(tag),
  );
}
