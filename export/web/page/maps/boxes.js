// Regions to boxes, as `keras_mscam.inference.find_boxes.find_boxes` proposes them.

import { findRegions } from "./regions.js";

/** A pathology is positive from its threshold on; without one it is never called. */
export function isPositive(contract, probabilities, column) {
  const threshold = contract.probability_thresholds[column];
  return threshold !== null && probabilities[column] >= threshold;
}

/**
 * Propose boxes of one pathology.
 *
 * @param {object} contract of the model.
 * @param {Float32Array} heatmap at the contract's image size.
 * @param {number[]} levels cut together; a rectangle that two share is given once.
 * @param {number[]} field half-open xyxy in pixels, the part of the image looked at.
 * @param {number} probability of the pathology.
 * @returns {{xyxy: number[], score: number}[]} by falling score; xyxy in pixels of the
 *     original image, score the probability times the mean heat of the region.
 */
export function proposeBoxes(contract, heatmap, levels, field, probability) {
  const size = contract.image_size;
  const smallest = contract.min_area * heatmap.length;
  const found = levels
    .flatMap((level) => findRegions(heatmap, size, level))
    .filter((region) => region.area >= smallest)
    .sort(compareRegions);
  const distinct = new Map();
  for (const region of found) {
    const key = region.xyxy.join();
    if (!distinct.has(key)) distinct.set(key, region);
  }
  return [...distinct.values()].slice(0, contract.max_boxes).map((region) => ({
    xyxy: carryToImage(region.xyxy, size, field),
    score: probability * region.heat,
  }));
}

/** By falling heat in float32; where equal, by top, left, bottom and right. */
function compareRegions(one, other) {
  const [left, top, right, bottom] = one.xyxy;
  const [otherLeft, otherTop, otherRight, otherBottom] = other.xyxy;
  return (
    Math.fround(other.heat) - Math.fround(one.heat) ||
    top - otherTop ||
    left - otherLeft ||
    bottom - otherBottom ||
    right - otherRight ||
    other.heat - one.heat
  );
}

function carryToImage([x1, y1, x2, y2], [height, width], [left, top, right, bottom]) {
  const across = (right - left) / width;
  const down = (bottom - top) / height;
  return [left + x1 * across, top + y1 * down, left + x2 * across, top + y2 * down];
}
