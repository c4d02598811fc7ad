/** An image file can't be used; the message goes on behind its name: "is empty". */
export class ImageError extends Error {}

/** More bytes than any file of one has. */
const MOST_BYTES = 2 ** 28;

export function checkBytes(count) {
  if (count > MOST_BYTES) {
    throw new ImageError(`is larger than ${MOST_BYTES.toLocaleString("en-US")} bytes`);
  }
}

/** More pixels than any radiograph has. */
const MOST_PIXELS = 100_000_000;

export function checkSize(height, width) {
  if (!(height * width >= 1)) {
    throw new ImageError(`has no pixels: its size is ${height}x${width}`);
  }
  if (height * width > MOST_PIXELS) {
    throw new ImageError(`is too large: ${height}x${width} pixels`);
  }
}
