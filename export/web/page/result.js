// What the model says of one X-ray: the page's counterpart of keras_mscam.Prediction.

import { findBoxes, isPositive } from "./maps/boxes.js";
import { computeHeatmap, measureShares, normalizeMap, takeMap } from "./maps/heatmap.js";

export class Result {
  /**
   * @param {object} contract of the model.
   * @param {object} outputs of the network, by name.
   * @param {object} xray of `readImage`.
   * @param {string} name of its file.
   */
  constructor(contract, outputs, xray, name) {
    Object.assign(this, { contract, outputs, xray, name });
    this.probabilities = outputs.probabilities.data;
    this.heatmaps = new Map();
    this.thresholds = contract.pathologies.map(() => contract.shown_threshold);
  }

  /** The part of the image that was looked at, half-open xyxy in pixels. */
  get field() {
    const [height, width] = this.xray.size;
    return this.xray.field ?? [0, 0, width, height];
  }

  /** Columns of the pathologies, by falling probability. */
  get order() {
    const columns = [...this.probabilities.keys()];
    return columns.sort((a, b) => this.probabilities[b] - this.probabilities[a]);
  }

  isPositive(column) {
    return isPositive(this.contract, this.probabilities, column);
  }

  /** The fused heat map at the size that the network sees; computed once. */
  heatmap(column) {
    if (!this.heatmaps.has(column)) {
      this.heatmaps.set(column, computeHeatmap(this.contract, this.outputs, column));
    }
    return this.heatmaps.get(column);
  }

  /** The map of one block, from its own minimum to its own maximum. */
  blockMap(block, column) {
    const { values, size } = takeMap(this.outputs[`cam_block${block}`], column);
    return { values: normalizeMap(values, "min_max"), size };
  }

  shares(column) {
    return measureShares(this.contract, this.outputs, column);
  }

  /** Boxes of one pathology at its threshold; none where it is not called. */
  boxes(column) {
    if (!this.isPositive(column)) return [];
    const probability = this.probabilities[column];
    const heatmap = this.heatmap(column);
    const threshold = this.thresholds[column];
    return findBoxes(this.contract, heatmap, threshold, this.field, probability);
  }

  /** Boxes of all pathologies, by falling score. */
  allBoxes() {
    return this.contract.pathologies
      .flatMap((pathology, column) =>
        this.boxes(column).map(({ xyxy, score }) => ({ pathology, xyxy, score })),
      )
      .sort((one, other) => other.score - one.score);
  }

  /** Whether boxes are at the threshold of the model's contract. */
  isAtOwnThreshold(column) {
    return this.thresholds[column] === this.contract.shown_threshold;
  }

  /** Say which boxes are not those that Python would give. */
  describeThresholds() {
    const changed = [...this.thresholds.keys()].filter(
      (column) => this.isPositive(column) && !this.isAtOwnThreshold(column),
    );
    return changed.map((column) => {
      const name = this.contract.pathologies[column];
      return `Boxes of ${name} are at threshold ${this.thresholds[column]}, set by hand.`;
    });
  }

  /** Plain values for JSON, with the keys of Prediction.to_dict. */
  toDict() {
    const { pathologies } = this.contract;
    return {
      probabilities: Object.fromEntries(
        pathologies.map((name, column) => [name, this.probabilities[column]]),
      ),
      boxes: this.allBoxes(),
      original_size: this.xray.size,
      pixel_spacing: this.xray.spacing,
      spacing_plane: this.xray.plane,
      warnings: [...this.xray.warnings, ...this.describeThresholds()],
      field: this.xray.field,
      error: null,
    };
  }
}
