// JPEG, by the browser's own decoder.

import { givesBackExactly } from "../canvas.js";
import { hasPrefix, isTurned } from "./exif.js";
import { ImageError, checkSize } from "./image_error.js";
import { toLuma } from "./luma.js";

const [SOF0, EOI, SOS, APP1, APP2] = [0xc0, 0xd9, 0xda, 0xe1, 0xe2];
const NO_END = "is damaged: the end of its JPEG data is missing";
/** Grey that decoders put where data is missing, and what becomes of it in CMYK. */
const FILLINGS = [128, 64, 63];

/**
 * Decode to 8-bit grey.
 *
 * Colour becomes luma; colour profiles are ignored, and EXIF rotation too, since boxes
 * are in the stored frame.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<{pixels: Uint8Array, size: [number, number], turned: boolean}>}
 *     `turned` where EXIF data ask for a rotation.
 * @throws {ImageError}
 */
export async function readJpeg(bytes) {
  const { plain, exif } = strip(bytes);
  const { data, size } = await decode(plain);
  await checkFilling(plain, data);
  return { pixels: toLuma(data, 4), size, turned: isTurned(exif) };
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

/** Refuse an incomplete JPEG; take EXIF data and colour profiles out. */
function strip(bytes) {
  const parts = [];
  let [from, exif, isAhead] = [0, new Uint8Array(), true];
  for (const { marker, at, end } of walk(bytes)) {
    if (isFrame(marker) && end <= bytes.length) {
      const { height, width } = readFrame(bytes, at);
      checkSize(height, width);
    }
    isAhead &&= marker !== SOS;
    const content = bytes.subarray(at + 4, end);
    if (marker === APP1 && isAhead && !exif.length && hasPrefix(content)) exif = content;
    if (marker === APP1 || marker === APP2) {
      parts.push(bytes.subarray(from, at));
      from = end;
    }
    if (marker === EOI) return { plain: join([...parts, bytes.subarray(from, end)]), exif };
  }
  throw new ImageError(NO_END);
}

/**
 * Find what a JPEG file, also a lossless one, says of its pixels.
 *
 * @param {Uint8Array} bytes
 * @returns {{bits: number, height: number, width: number, samples: number}}
 * @throws {ImageError} there is no such header, or no end.
 */
export function findFrame(bytes) {
  if (findLastEnd(bytes) < 0) throw new ImageError(NO_END);
  for (const { marker, at } of walk(bytes)) {
    if (isFrame(marker)) return readFrame(bytes, at);
  }
  throw new ImageError("is damaged: its JPEG header cannot be read");
}

function readFrame(bytes, at) {
  const [height, width] = [at + 5, at + 7].map((k) => bytes[k] * 256 + bytes[k + 1]);
  return { bits: bytes[at + 4], height, width, samples: bytes[at + 9] };
}

/** Give each segment from its marker to its end, up to the end of the image. */
function* walk(bytes) {
  for (let at = 2; at + 1 < bytes.length; ) {
    const marker = bytes[at + 1];
    if (bytes[at] !== 0xff || marker < SOF0 || marker === 0xff || isRestart(marker)) {
      at += 1; // pixels, in which 0xff is followed by 0x00, or filling
      continue;
    }
    const length = bytes[at + 2] * 256 + bytes[at + 3];
    const end = at + 2 + (marker === EOI ? 0 : Math.max(length, 2));
    yield { marker, at, end };
    if (marker === EOI) return;
    at = end;
  }
}

/** In one piece: Firefox tells a format by the first piece of a blob, not by its type. */
export function join(parts) {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Refuse a JPEG whose end was cut off and closed with an end marker. */
async function checkFilling(bytes, data) {
  const last = data.slice(-4, -1);
  if (!FILLINGS.some((grey) => last.every((value) => value === grey))) return;
  checkAlike(data, (await decode(lengthen(bytes))).data);
}

/** Refuse a JPEG of which a decoder takes what `lengthen` put into it. */
export function checkAlike(values, others) {
  if (values.some((value, at) => value !== others[at])) {
    throw new ImageError("is damaged: a part of its JPEG data is missing");
  }
}

/** Put bytes in front of the end: a decoder takes them if something is missing. */
export function lengthen(bytes, filling = 0x55) {
  let end = findLastEnd(bytes);
  while (bytes[end - 1] === 0xff) end -= 1; // fill bytes may stand before a marker
  const more = new Uint8Array(64).fill(filling);
  return join([bytes.subarray(0, end), more, Uint8Array.of(0xff, EOI)]);
}

function findLastEnd(bytes) {
  let at = bytes.length - 2;
  while (at >= 0 && !(bytes[at] === 0xff && bytes[at + 1] === EOI)) at -= 1;
  return at;
}

function isFrame(marker) {
  return marker >= SOF0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

function isRestart(marker) {
  return marker >= 0xd0 && marker <= 0xd7;
}
