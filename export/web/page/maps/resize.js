// Two resamplers: bilinear with half-pixel centres for maps, area averaging for images.

/**
 * Enlarge or shrink a map bilinearly, with half-pixel centres; no averaging.
 *
 * Position i of the result lies at (i + 0.5) * from / to - 0.5 of the map, between its
 * two neighbours there; beyond the ends, the end is repeated.
 *
 * @param {Float32Array} values h * w of them, row by row.
 * @param {[number, number]} from [height, width] of the map.
 * @param {[number, number]} to [height, width] wanted.
 * @returns {Float32Array}
 */
export function resizeBilinear(values, [fromHeight, fromWidth], [height, width]) {
  const down = findNeighbours(height, fromHeight);
  const across = findNeighbours(width, fromWidth);
  const result = new Float32Array(height * width);
  for (let y = 0, at = 0; y < height; y++) {
    const above = down.first[y] * fromWidth;
    const below = down.second[y] * fromWidth;
    const share = down.share[y];
    for (let x = 0; x < width; x++, at++) {
      const left = across.first[x];
      const right = across.second[x];
      const part = across.share[x];
      const top = values[above + left] * (1 - part) + values[above + right] * part;
      const low = values[below + left] * (1 - part) + values[below + right] * part;
      result[at] = top * (1 - share) + low * share;
    }
  }
  return result;
}

function findNeighbours(size, from) {
  const first = new Int32Array(size);
  const second = new Int32Array(size);
  const share = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const place = ((i + 0.5) * from) / size - 0.5;
    const below = Math.floor(place);
    first[i] = Math.min(Math.max(below, 0), from - 1);
    second[i] = Math.min(Math.max(below + 1, 0), from - 1);
    share[i] = place - below;
  }
  return { first, second, share };
}

/**
 * Resize grey pixels by area averaging, as `keras_mscam.images.resize.resize_area`: along
 * a side that grows, where there is nothing to average, linearly.
 *
 * @param {Uint8Array} pixels
 * @param {[number, number]} from [height, width] of the image.
 * @param {[number, number]} to [height, width] wanted.
 * @returns {Uint8Array}
 */
export function resizeArea(pixels, from, to) {
  const shrunk = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
  const averaged = averageAreas(pixels, from, shrunk);
  if (shrunk[0] === to[0] && shrunk[1] === to[1]) return averaged;
  return Uint8Array.from(resizeBilinear(averaged, shrunk, to), Math.round);
}

function averageAreas(pixels, [fromHeight, fromWidth], [height, width]) {
  if (fromHeight === height && fromWidth === width) return pixels.slice();
  const across = findShares(width, fromWidth);
  const down = findShares(height, fromHeight);
  const result = new Uint8Array(height * width);
  const row = new Float64Array(width);
  // OpenCV rounds a half to the even neighbour; up, like JavaScript, where it halves.
  const isHalved = fromHeight === 2 * height && fromWidth === 2 * width;
  const round = isHalved ? Math.round : roundToEven;
  for (let y = 0; y < height; y++) {
    row.fill(0);
    for (let k = down.start[y]; k < down.start[y + 1]; k++) {
      addRow(row, pixels, down.index[k] * fromWidth, down.share[k], across);
    }
    for (let x = 0; x < width; x++) result[y * width + x] = round(row[x]);
  }
  return result;
}

function addRow(row, pixels, offset, share, across) {
  for (let x = 0; x < row.length; x++) {
    let sum = 0;
    for (let k = across.start[x]; k < across.start[x + 1]; k++) {
      sum += pixels[offset + across.index[k]] * across.share[k];
    }
    row[x] += sum * share;
  }
}

/** Find which pixels each pixel of the result covers, and what share of it each is. */
function findShares(size, from) {
  const start = new Int32Array(size + 1);
  const index = [];
  const share = [];
  const scale = from / size;
  for (let i = 0; i < size; i++) {
    const low = i * scale;
    const high = Math.min(low + scale, from);
    for (let j = Math.floor(low); j < high - 1e-9; j++) {
      const part = (Math.min(j + 1, high) - Math.max(j, low)) / scale;
      if (part > 1e-9) {
        index.push(j);
        share.push(part);
      }
    }
    start[i + 1] = index.length;
  }
  return { start, index, share };
}

function roundToEven(value) {
  const below = Math.floor(value);
  const isHalf = Math.abs(value - below - 0.5) < 1e-9;
  return isHalf ? below + (below % 2) : Math.round(value);
}
