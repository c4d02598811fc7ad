// What a PNG file holds: its header, its palette and its compressed pixels.

import { ImageError, checkSize } from "./image_error.js";

const HEADER_DAMAGED = "is damaged: its header cannot be read";
/** Bits of a sample that each kind of colour may have. */
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

/**
 * Walk along the chunks and compare their checksums: browsers that decode PNG differ on
 * whether they refuse a damaged file or fill it up.
 *
 * @param {Uint8Array} bytes of the file.
 * @returns {{width: number, height: number, depth: number, colour: number,
 *     interlaced: boolean, palette: Uint8Array, compressed: Uint8Array[]}}
 * @throws {ImageError}
 */
export function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readHeader(bytes, view);
  let palette = new Uint8Array();
  const compressed = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at);
    if (end > bytes.length) break;
    if (computeCrc(bytes.subarray(at + 4, end - 4)) !== view.getUint32(end - 4)) {
      throw new ImageError("is damaged: a checksum of its PNG data is wrong");
    }
    const kind = readKind(bytes, at);
    const content = bytes.subarray(at + 8, end - 4);
    if (kind === "PLTE") palette = content;
    if (kind === "IDAT") compressed.push(content);
    if (kind === "IEND") return { ...header, palette, compressed };
    at = end;
  }
  throw new ImageError("is damaged: the end of its PNG data is missing");
}

function readHeader(bytes, view) {
  const isHeader = bytes.length >= 33 && view.getUint32(8) === 13;
  if (!isHeader || readKind(bytes, 8) !== "IHDR") throw new ImageError(HEADER_DAMAGED);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [depth, colour, compression, filter, interlace] = bytes.subarray(24, 29);
  const isKnown = DEPTHS[colour]?.includes(depth) && !compression && !filter;
  if (!width || !height || !isKnown || interlace > 1) {
    throw new ImageError(HEADER_DAMAGED);
  }
  checkSize(height, width);
  return { width, height, depth, colour, interlaced: interlace === 1 };
}

function readKind(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at + 4, at + 8));
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return value;
});

function computeCrc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
