// PNG and JPEG, by the browser's own decoders.

import { ImageError, checkSize } from "./image_error.js";
import { toLuma } from "./luma.js";

const TYPES = { png: "image/png", jpeg: "image/jpeg" };

/**
 * Decode to 8-bit grey.
 *
 * Colour becomes luma; colour profiles are ignored, and EXIF rotation too, since boxes
 * are in the stored frame.
 *
 * @param {Uint8Array} bytes
 * @param {string} format "png" or "jpeg".
 * @returns {Promise<{pixels: Uint8Array, size: [number, number]}>}
 * @throws {ImageError}
 */
export async function readRaster(bytes, format) {
  const plain = format === "png" ? stripPng(bytes) : stripJpeg(bytes);
  const bitmap = await decode(plain, TYPES[format]);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  checkOpaque(data);
  return { pixels: toLuma(data, 4), size: [height, width] };
}

/** A canvas stores colour times alpha: what is under a veil can't be had exactly. */
function checkOpaque(data) {
  for (let at = 3; at < data.length; at += 4) {
    if (data[at] !== 255) {
      throw new ImageError("is partly transparent; save it without an alpha channel");
    }
  }
}

async function decode(parts, type) {
  try {
    return await createImageBitmap(new Blob(parts, { type }), {
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch (error) {
    throw new ImageError("is damaged: its pixels cannot be decoded", { cause: error });
  }
}

/** Chunks that would change how a browser shows the stored pixels. */
const COLOUR_CHUNKS = ["gAMA", "cHRM", "iCCP", "sRGB", "cICP", "eXIf"];

/** Refuse an incomplete PNG, which decoders fill up; leave out colour management. */
function stripPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 33) throw new ImageError("is damaged: its header cannot be read");
  checkSize(view.getUint32(20), view.getUint32(16));
  const parts = [bytes.subarray(0, 8)];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const end = at + 12 + view.getUint32(at);
    if (end > bytes.length) break;
    if (!COLOUR_CHUNKS.includes(kind)) parts.push(bytes.subarray(at, end));
    if (kind === "IEND") return parts;
    at = end;
  }
  throw new ImageError("is damaged: the end of its PNG data is missing");
}

/** Refuse an incomplete JPEG; leave out EXIF data and colour profiles. */
function stripJpeg(bytes) {
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
  const rest = bytes.subarray(at);
  if (findMarker(rest, 0xd9) < findMarker(rest, 0xda) || !rest.length) {
    throw new ImageError("is damaged: the end of its JPEG data is missing");
  }
  return [...parts, rest];
}

function isFrame(marker) {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

/** Return where a marker is last: inside a scan, 0xff is followed by 0x00. */
function findMarker(bytes, marker) {
  for (let at = bytes.length - 2; at >= 0; at--) {
    if (bytes[at] === 0xff && bytes[at + 1] === marker) return at;
  }
  return -1;
}
