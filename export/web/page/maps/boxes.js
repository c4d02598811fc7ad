// Regions to boxes, as `keras_mscam.inference.find_boxes.find_boxes` gives them.

import { findRegions } from "./regions.js";

/** A pathology is positive from its threshold on; without one it is never called. */
export function isPositive(contract, probabilities, column) {
  const threshold = contract.probability_thresholds[column];
  return threshold !== null && probabilities[column] >= Math.fround(threshold);
}

/**
 * Find the boxes that are shown of one pathology.
 *
 * @param {object} contract of the model.
 * @param {Float32Array} heatmap at the contract's image size.
 * @param {number} threshold of heat, the contract's or set by hand.
 * @param {number[]} field half-open xyxy in pixels, the part of the image looked at.
 * @param {number} probability of the pathology.
 * @returns {{xyxy: number[], score: number}[]} by falling score; xyxy in pixels of the
 *     original image, score the probability times the mean heat of the region.
 */
export function findBoxes(contract, heatmap, threshold, field, probability) {
  const size = contract.image_size;
  const smallest = contract.shown_min_area * heatmap.length;
  const largest = contract.shown_max_area * heatmap.length;
  const regions = findRegions(heatmap, size, threshold).filter(
    (region) => region.area >= smallest,
  );
  // A map that is hot nearly everywhere points nowhere.
  if (regions.some(({ xyxy }) => measureArea(xyxy) > largest)) return [];
  return regions
    .sort(compareRegions)
    .slice(0, contract.shown_max_boxes)
    .filter((region, place, all) => !all.slice(0, place).some(isNestedWith(region)))
    .map((region) => ({
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
    right - otherRight
  );
}

function measureArea([x1, y1, x2, y2]) {
  return (x2 - x1) * (y2 - y1);
}

/** One that lies in a hotter one, or around it, is left out. */
function isNestedWith({ xyxy: own }) {
  return ({ xyxy }) => lies(own, xyxy) || lies(xyxy, own);
}

function lies([x1, y1, x2, y2], [left, top, right, bottom]) {
  return x1 >= left && y1 >= top && x2 <= right && y2 <= bottom;
}

function carryToImage([x1, y1, x2, y2], [height, width], [left, top, right, bottom]) {
  const across = (right - left) / width;
  const down = (bottom - top) / height;
  return [left + x1 * across, top + y1 * down, left + x2 * across, top + y2 * down];
}
