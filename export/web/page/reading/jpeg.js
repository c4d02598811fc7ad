// JPEG, by the browser's own decoder.

import { givesBackExactly } from "../canvas.js";
import { ImageError, checkSize } from "./image_error.js";
import { toLuma } from "./luma.js";

/** Grey that decoders put where data is missing, and what becomes of it in CMYK. */
const FILLINGS = [128, 64, 63];

/**
 * Decode to 8-bit grey.
 *
 * Colour becomes luma; colour profiles are ignored, and EXIF rotation too, since boxes
 * are in the stored frame.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<{pixels: Uint8Array, size: [number, number]}>}
 * @throws {ImageError}
 */
export async function readJpeg(bytes) {
  const plain = strip(bytes);
  const { data, size } = await decode(plain);
  await checkFilling(plain, data);
  return { pixels: toLuma(data, 4), size };
}

async function decode(bytes) {
  const blob = new Blob([bytes], { type: "image/jpeg" });
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch (error) {
    throw new ImageError("is damaged: its pixels cannot be decoded", { cause: error });
  }
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  checkCanvas(data);
  return { data, size: [height, width] };
}

function checkCanvas(data) {
  if (!givesBackExactly(new OffscreenCanvas(16, 16))) {
    throw new ImageError(
      "is a JPEG, whose pixels this browser changes, against fingerprinting; save it " +
        "as PNG, or allow this page to read canvases",
    );
  }
  // A canvas that is too large for a browser stays transparent.
  if (data.at(-1) !== 255) throw new ImageError("is too large for this browser");
}

/** Refuse an incomplete JPEG; leave out EXIF data and colour profiles. */
function strip(bytes) {
  const parts = [bytes.subarray(0, 2)];
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1; // filling
      continue;
    }
    const end = at + 2 + bytes[at + 2] * 256 + bytes[at + 3];
    if (isFrame(marker) && end <= bytes.length) {
      const [height, width] = [at + 5, at + 7].map((k) => bytes[k] * 256 + bytes[k + 1]);
      checkSize(height, width);
    }
    if (marker !== 0xe1 && marker !== 0xe2) parts.push(bytes.subarray(at, end));
    at = end;
  }
  const end = findEnd(bytes, at);
  if (end < 0) throw new ImageError("is damaged: the end of its JPEG data is missing");
  return join([...parts, bytes.subarray(at, end)]);
}

/** In one piece: Firefox tells a format by the first piece of a blob, not by its type. */
function join(parts) {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Refuse a JPEG whose end was cut off and closed with an end marker: if the decoder
 * decodes bytes put in front of the marker, then there was something missing.
 */
async function checkFilling(bytes, data) {
  const last = data.slice(-4, -1);
  if (!FILLINGS.some((grey) => last.every((value) => value === grey))) return;
  let end = bytes.length - 2;
  const closing = bytes.subarray(end);
  while (bytes[end - 1] === 0xff) end -= 1; // fill bytes may stand before a marker
  const more = new Uint8Array(64).fill(0x55);
  const other = await decode(join([bytes.subarray(0, end), more, closing]));
  if (other.data.some((value, at) => value !== data[at])) {
    throw new ImageError("is damaged: a part of its JPEG data is missing");
  }
}

function isFrame(marker) {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

/** Return where the first end of pixels is over: inside a scan, 0xff is followed by 0x00. */
function findEnd(bytes, start) {
  for (let at = start; at + 1 < bytes.length; at++) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return at + 2;
  }
  return -1;
}
