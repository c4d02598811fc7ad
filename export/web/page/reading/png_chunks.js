// What a PNG file holds: its header, its palette and its compressed pixels.

import { ImageError, checkSize } from "./image_error.js";

const HEADER_DAMAGED = "is damaged: its header cannot be read";
const PIXELS_DAMAGED = "is damaged: its pixels cannot be decoded";
/** Chunks that a decoder may not pass over. */
const KNOWN = ["IHDR", "PLTE", "IDAT", "IEND"];
/** A side of more pixels is refused by libpng. */
const LONGEST = 1_000_000;
/** Bits of a sample that each kind of colour may have. */
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

/**
 * Walk along the chunks and compare the checksums of those that are needed: browsers that
 * decode PNG differ on whether they refuse a damaged file or fill it up. Pixels are in
 * chunks without others between them.
 *
 * @param {Uint8Array} bytes of the file.
 * @returns {{width: number, height: number, depth: number, colour: number,
 *     interlaced: boolean, palette: Uint8Array, compressed: Uint8Array[],
 *     exif: Uint8Array}}
 * @throws {ImageError}
 */
export function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readHeader(bytes, view);
  let palette = null;
  let exif = new Uint8Array();
  const compressed = [];
  let before = "";
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at);
    if (end > bytes.length) break;
    const kind = readKind(bytes, at);
    if (!/^[A-Za-z]{4}$/.test(kind)) {
      throw new ImageError("is damaged: a part of its PNG data is of no kind");
    }
    if (/^[A-Z]/.test(kind)) {
      checkCrc(bytes, view, at, end, "is damaged: a checksum of its PNG data is wrong");
      const isKnown = KNOWN.includes(kind) && (kind !== "IHDR" || at === 8);
      if (!isKnown || (kind === "PLTE" && palette)) throw new ImageError(PIXELS_DAMAGED);
    }
    const content = bytes.subarray(at + 8, end - 4);
    if (kind === "PLTE") palette = content;
    const isFirst = !compressed.length || before === "IDAT";
    if (kind === "IDAT" && isFirst) compressed.push(content);
    if (kind === "eXIf" && !compressed.length && isWhole(bytes, view, at, end)) {
      exif = content;
    }
    if (kind === "IEND") {
      return { ...header, palette: checkPalette(palette, header), compressed, exif };
    }
    before = kind;
    at = end;
  }
  throw new ImageError("is damaged: the end of its PNG data is missing");
}

function readHeader(bytes, view) {
  const isHeader = bytes.length >= 33 && view.getUint32(8) === 13;
  if (!isHeader || readKind(bytes, 8) !== "IHDR") throw new ImageError(HEADER_DAMAGED);
  checkCrc(bytes, view, 8, 33, HEADER_DAMAGED);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [depth, colour, compression, filter, interlace] = bytes.subarray(24, 29);
  checkSize(height, width);
  const isKnown = DEPTHS[colour]?.includes(depth) && !compression && !filter;
  if (!isKnown || interlace > 1 || Math.max(width, height) > LONGEST) {
    throw new ImageError(PIXELS_DAMAGED);
  }
  return { width, height, depth, colour, interlaced: interlace === 1 };
}

/** Return three bytes a colour, as libpng allows them. */
function checkPalette(palette, { colour }) {
  if (colour !== 3) return new Uint8Array();
  if (!palette?.length || palette.length % 3 || palette.length > 768) {
    throw new ImageError(PIXELS_DAMAGED);
  }
  return palette;
}

function checkCrc(bytes, view, start, end, reason) {
  if (!isWhole(bytes, view, start, end)) throw new ImageError(reason);
}

function isWhole(bytes, view, start, end) {
  const sum = computeCrc(bytes.subarray(start + 4, end - 4));
  return sum === view.getUint32(end - 4);
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
