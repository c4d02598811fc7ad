// Isolated regions of a heat map.

/**
 * Find the 8-connected components of `heatmap > threshold`.
 *
 * @param {Float32Array} heatmap in [0, 1].
 * @param {[number, number]} size its [height, width].
 * @param {number} threshold
 * @returns {{xyxy: number[], area: number, heat: number}[]} the rectangle around each,
 *     half-open; its number of pixels; and their mean heat.
 */
export function findRegions(heatmap, [height, width], threshold) {
  const cut = Math.fround(threshold); // as the heat itself is: float32
  const seen = new Uint8Array(heatmap.length);
  const waiting = [];
  const regions = [];
  const visit = (at) => {
    if (heatmap[at] > cut && !seen[at]) {
      seen[at] = 1;
      waiting.push(at);
    }
  };
  for (let start = 0; start < heatmap.length; start++) {
    visit(start);
    if (waiting.length) regions.push(grow(heatmap, height, width, waiting, visit));
  }
  return regions;
}

function grow(heatmap, height, width, waiting, visit) {
  let [left, top, right, bottom, area, sum] = [width, height, 0, 0, 0, 0];
  while (waiting.length) {
    const at = waiting.pop();
    const x = at % width;
    const y = (at - x) / width;
    area += 1;
    sum += heatmap[at];
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x + 1);
    bottom = Math.max(bottom, y + 1);
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
      for (let col = Math.max(x - 1, 0); col <= Math.min(x + 1, width - 1); col++) {
        visit(row * width + col);
      }
    }
  }
  return { xyxy: [left, top, right, bottom], area, heat: sum / area };
}
