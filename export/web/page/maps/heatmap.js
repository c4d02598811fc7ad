// From the maps of the network's blocks to a heat map in [0, 1].

import { resizeBilinear } from "./resize.js";

/**
 * Take one pathology's map out of an output of the network.
 *
 * @param {{data: Float32Array, shape: number[]}} output of shape [1, h, w, C].
 * @param {number} column of the pathology.
 * @returns {{values: Float32Array, size: [number, number]}}
 */
export function takeMap({ data, shape }, column) {
  const [, height, width, pathologies] = shape;
  const values = new Float32Array(height * width);
  for (let i = 0; i < values.length; i++) values[i] = data[i * pathologies + column];
  return { values, size: [height, width] };
}

/**
 * Fuse the raw maps of all blocks at the size that the network sees.
 *
 * attention = sum_b fusion_weights[b, c] * resize(cam_b)
 */
function fuseMaps(contract, outputs, column) {
  const [height, width] = contract.image_size;
  const fused = new Float32Array(height * width);
  contract.blocks.forEach((block, row) => {
    const { values, size } = takeMap(outputs[`cam_block${block}`], column);
    const weight = contract.fusion_weights[row][column];
    const weighted = values.map((value) => value * weight);
    const enlarged = resizeBilinear(weighted, size, contract.image_size);
    for (let i = 0; i < fused.length; i++) fused[i] += enlarged[i];
  });
  return fused;
}

/**
 * Scale a raw map to [0, 1].
 *
 * "min_max": (cam - min) / (max - min); "exponential": exp((cam - max) / unit).
 * A map without contrast, or with a value that isn't finite, becomes all zeros.
 *
 * @param {Float32Array} cam
 * @param {string} normalization
 * @param {number} unit of the exponential.
 * @returns {Float32Array}
 */
export function normalizeMap(cam, normalization, unit) {
  const { low, high, finite } = findRange(cam);
  if (!finite || high === low) return new Float32Array(cam.length);
  if (normalization === "min_max") {
    return cam.map((value) => (value - low) / (high - low));
  }
  if (!(unit > 0)) return new Float32Array(cam.length);
  return cam.map((value) => Math.exp((value - high) / unit));
}

function findRange(values) {
  let low = Infinity;
  let high = -Infinity;
  let finite = values.length > 0;
  for (const value of values) {
    if (!Number.isFinite(value)) finite = false;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high, finite };
}

/** Fuse and normalize the maps of one pathology. */
export function computeHeatmap(contract, outputs, column) {
  const fused = fuseMaps(contract, outputs, column);
  return normalizeMap(fused, contract.normalization, contract.map_scales[column]);
}

/**
 * Say how much each block shapes the fused map.
 *
 * @returns {number[]} the standard deviation of each block's weighted map, as a
 *     fraction of their sum; all 0 where no map varies.
 */
export function measureShares(contract, outputs, column) {
  const deviations = contract.blocks.map((block, row) => {
    const { values } = takeMap(outputs[`cam_block${block}`], column);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const weight = contract.fusion_weights[row][column];
    return Math.abs(weight) * Math.sqrt(square / values.length);
  });
  const total = deviations.reduce((sum, value) => sum + value, 0);
  return deviations.map((value) => (total > 0 ? value / total : 0));
}
