// RLE of DICOM (PS3.5, annex G): a header, then one PackBits segment for each byte plane.

import { ImageError } from "./image_error.js";

/**
 * Decode one frame.
 *
 * @param {Uint8Array} bytes of the frame.
 * @param {number} pixels in the image.
 * @param {number} samples of a pixel.
 * @param {number} width of a sample in bytes, 1 or 2.
 * @returns {Uint8Array} little-endian samples, pixel by pixel.
 */
export function decodeRle(bytes, pixels, samples, width) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const segments = samples * width;
  if (bytes.length < 64 || view.getUint32(0, true) !== segments) {
    throw new ImageError("is damaged: its pixels cannot be decoded");
  }
  const result = new Uint8Array(pixels * segments);
  for (let segment = 0; segment < segments; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const isLast = segment === segments - 1;
    const end = isLast ? bytes.length : view.getUint32(8 + 4 * segment, true);
    // The most significant byte comes first.
    const sample = Math.floor(segment / width);
    const offset = sample * width + (width - 1 - (segment % width));
    unpack(bytes.subarray(start, end), result, offset, segments, pixels);
  }
  return result;
}

function unpack(packed, result, offset, stride, pixels) {
  let done = 0;
  const put = (value) => {
    if (done < pixels) result[offset + stride * done++] = value;
  };
  for (let at = 0; at < packed.length && done < pixels; ) {
    const control = packed[at++];
    if (control < 128) {
      for (let k = 0; k <= control && at < packed.length; k++) put(packed[at++]);
    } else if (control > 128) {
      const value = packed[at++];
      for (let k = 0; k < 257 - control; k++) put(value);
    }
  }
  if (done < pixels) {
    throw new ImageError("is damaged: its pixels are not as many as its header says");
  }
}
