// Stored values of DICOM pixels: uncompressed, RLE, JPEG baseline, lossless JPEG.

import { Decoder } from "../vendor/jpeg-lossless.js";
import { ImageError } from "./image_error.js";
import { checkAlike, findFrame, join, lengthen, readJpeg } from "./jpeg.js";
import { decodeRle } from "./rle.js";

const NAMES = {
  "1.2.840.10008.1.2.4.80": "JPEG-LS",
  "1.2.840.10008.1.2.4.81": "JPEG-LS",
  "1.2.840.10008.1.2.4.90": "JPEG 2000",
  "1.2.840.10008.1.2.4.91": "JPEG 2000",
};
export const isJpeg2000 = (syntax) => NAMES[syntax] === "JPEG 2000";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const UNCOMPRESSED = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN];
export const isCompressed = (syntax) => !UNCOMPRESSED.includes(syntax);
const RLE = "1.2.840.10008.1.2.5";
const BASELINE = "1.2.840.10008.1.2.4.50";
const LOSSLESS = ["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"];

const TOO_MANY_BITS = "is damaged: its pixels have more bits than its header says";
const NOT_DECODED = "is damaged: its pixels cannot be decoded";
const INCOMPLETE = "is damaged: its pixels are not as many as its header says";

/**
 * Return stored values, pixel by pixel, `samples` of them a pixel.
 *
 * Adds to the header: `isLuma`, where they are no stored values but colours that became
 * grey already; `isLarger`, where values need more bits than it says.
 *
 * @param {object} dataset of dicom-parser.
 * @param {object} header of `dicom.js`.
 * @returns {Promise<Uint8Array | Int8Array | Uint16Array | Int16Array>}
 */
export async function readPixels(dataset, header) {
  const { samples, signed, syntax } = header;
  checkBits(header);
  const values = await decode(dataset, header);
  if (header.isLuma) return values;
  const count = 2 ** Math.max((header.high ?? 0) + 1, header.stored);
  const end = signed ? count / 2 : count;
  // In JPEG, nothing is above the sign.
  const isPlain = !signed || syntax === RLE || !isCompressed(syntax);
  header.isLarger =
    samples === 1 && isPlain && values.some((value) => value >= end || value < end - count);
  return clearUnused(values, header);
}

async function decode(dataset, header) {
  const { syntax } = header;
  if (!isCompressed(syntax)) return readUncompressed(dataset, header);
  if (syntax === RLE) return readRle(dataset, header);
  if (syntax === BASELINE) return readBaseline(dataset, header);
  if (LOSSLESS.includes(syntax)) return readLossless(dataset, header);
  const name = NAMES[syntax] ?? "a way";
  throw new ImageError(
    `is compressed by ${name} that this page cannot read; uncompressed, RLE, baseline ` +
      "and lossless JPEG it can",
  );
}

function readUncompressed(dataset, header) {
  const { dataOffset, encapsulatedPixelData, length, vr } = dataset.elements.x7fe00010;
  if (encapsulatedPixelData) {
    throw new ImageError("does not say how its pixels are compressed");
  }
  const bytes = dataset.byteArray.slice(dataOffset, dataOffset + length);
  const isHalved = header.photometric === "YBR_FULL_422";
  const samples = isHalved
    ? countHalved(header)
    : header.height * header.width * header.samples;
  const needed = samples * (header.allocated / 8);
  if (bytes.length < needed) throw new ImageError(INCOMPLETE);
  // Values of 8 bits may come in words of 16, too.
  const isWords = header.allocated === 16 || vr === "OW";
  if (header.syntax === BIG_ENDIAN && isWords) swapBytes(bytes);
  const values = view(bytes.subarray(0, needed), header);
  if (isHalved) return repeatColours(values, header);
  return header.planar && header.samples > 1 ? interleave(values, header) : values;
}

function readRle(dataset, header) {
  const width = header.allocated / 8;
  const pixels = header.height * header.width;
  return view(decodeRle(readFragments(dataset), pixels, header.samples, width), header);
}

async function readBaseline(dataset, header) {
  const { samples, allocated, signed } = header;
  const frame = readJpegFrame(dataset, header);
  if (samples === 3 && (allocated !== 8 || signed)) throw new ImageError(NOT_DECODED);
  const { pixels } = await readJpeg(frame);
  header.isLuma = samples === 3; // the browser gave RGB, of which it was made
  return signed ? Int16Array.from(pixels) : pixels;
}

function readLossless(dataset, header) {
  const frame = readJpegFrame(dataset, header);
  // Bytes in front of the end are decoded where something is missing. Without any, the
  // decoder's last pixel may be wrong.
  const [values, others] = [0x55, 0xaa].map((filling) => {
    const jpeg = lengthen(frame, filling);
    const data = new Decoder().decode(
      jpeg.buffer, jpeg.byteOffset, jpeg.length, header.allocated / 8,
    ); // prettier-ignore
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return view(bytes, header);
  });
  checkAlike(values, others);
  return values;
}

/** Return the JPEG file that is inside, whose header says the same. */
function readJpegFrame(dataset, header) {
  const joined = readFragments(dataset);
  // A fragment of odd length is filled up with a zero.
  const jpeg = joined.at(-1) === 0 ? joined.subarray(0, -1) : joined;
  const { bits, height, width, samples } = findFrame(jpeg);
  if (
    height !== header.height || width !== header.width || samples !== header.samples
  ) {
    throw new ImageError(INCOMPLETE);
  } // prettier-ignore
  if (bits > header.allocated) throw new ImageError(TOO_MANY_BITS);
  return jpeg;
}

/** Join the fragments of the only frame. */
function readFragments(dataset) {
  const element = dataset.elements.x7fe00010;
  if (!element.encapsulatedPixelData) throw new ImageError(INCOMPLETE);
  const parts = element.fragments.map(({ position, length }) =>
    dataset.byteArray.subarray(position, position + length),
  );
  return join(parts);
}

/** Two pixels in a row share their colour: Y, Y, blue, red. */
function countHalved({ height, width }) {
  return height * Math.ceil(width / 2) * 4;
}

function repeatColours(values, { height, width }) {
  const pairs = Math.ceil(width / 2);
  const result = new values.constructor(height * width * 3);
  for (let i = 0; i < height * width; i++) {
    const [row, column] = [Math.floor(i / width), i % width];
    const at = 4 * (row * pairs + (column >> 1));
    result.set([values[at + (column % 2)], values[at + 2], values[at + 3]], 3 * i);
  }
  return result;
}

function view(bytes, { allocated, signed }) {
  if (allocated === 8) return signed ? Int8Array.from(bytes) : bytes;
  const aligned = bytes.byteOffset % 2 ? bytes.slice() : bytes;
  const Values = signed ? Int16Array : Uint16Array;
  return new Values(aligned.buffer, aligned.byteOffset, aligned.length >> 1);
}

function countBelow({ stored, high }) {
  return Math.max((high ?? stored - 1) + 1 - stored, 0);
}

function checkBits(header) {
  const { stored, allocated } = header;
  if (stored < 1 || stored + countBelow(header) > allocated) {
    throw new ImageError(TOO_MANY_BITS);
  }
}

/** Leave out bits above and below those that are stored; the highest may be a sign. */
function clearUnused(values, header) {
  const { stored, signed } = header;
  const below = countBelow(header);
  if (stored === 8 * values.BYTES_PER_ELEMENT) return values;
  const left = 32 - stored - below;
  return values.map((value) =>
    signed ? (value << left) >> (left + below) : (value << left) >>> (left + below),
  );
}

function swapBytes(bytes) {
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    [bytes[i], bytes[i + 1]] = [bytes[i + 1], bytes[i]];
  }
}

function interleave(values, { height, width, samples }) {
  const pixels = height * width;
  const result = new values.constructor(pixels * samples);
  for (let sample = 0; sample < samples; sample++) {
    for (let i = 0; i < pixels; i++) {
      result[i * samples + sample] = values[sample * pixels + i];
    }
  }
  return result;
}
