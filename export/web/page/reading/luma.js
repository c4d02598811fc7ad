/**
 * Mix three samples to grey: 0.299 R + 0.587 G + 0.114 B, in OpenCV's whole numbers,
 * which leave equal channels as they are.
 *
 * @param {Uint8Array | Uint8ClampedArray | Uint16Array} colours of 8 or 16 bits.
 * @param {number} at which place red is; green and blue follow.
 */
export function mixLuma(colours, at) {
  const sum = 9798 * colours[at] + 19235 * colours[at + 1] + 3735 * colours[at + 2];
  return (sum + 16384) >> 15;
}

/**
 * Turn colour to grey.
 *
 * @param {Uint8Array | Uint8ClampedArray} colours pixel by pixel.
 * @param {number} channels of a pixel, 3 or 4; the fourth is dropped.
 * @returns {Uint8Array}
 */
export function toLuma(colours, channels) {
  const grey = new Uint8Array(colours.length / channels);
  for (let i = 0; i < grey.length; i++) grey[i] = mixLuma(colours, i * channels);
  return grey;
}
