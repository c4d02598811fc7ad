// An image file to an X-ray: grey pixels, and what the file says of them.

import { isDicom } from "./bare_dicom.js";
import { readDicom } from "./dicom.js";
import { ImageError } from "./image_error.js";
import { readJpeg } from "./jpeg.js";
import { readPng } from "./png.js";

const TURNED = "It is turned or mirrored by its EXIF data, which are not followed.";

/**
 * Read a PNG, JPEG or DICOM file; its content decides on its format, not its name.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<{pixels: Uint8Array, size: [number, number], spacing: ?number[],
 *     plane: ?string, field: ?number[], warnings: string[]}>} pixels dark for air and
 *     bright for bone; size [height, width]; spacing in mm, [down, across]; field
 *     half-open xyxy, the part that is looked at, null for all.
 * @throws {ImageError}
 */
export async function readImage(bytes) {
  if (!bytes.length) throw new ImageError("is empty");
  const format = findFormat(bytes);
  if (format === null) throw new ImageError("is not a PNG, JPEG or DICOM image");
  if (format === "dicom") return readDicom(bytes);
  const { pixels, size, turned } = await (format === "png" ? readPng : readJpeg)(bytes);
  const warnings = turned ? [TURNED] : [];
  return { pixels, size, spacing: null, plane: null, field: null, warnings };
}

/** Tell "png", "jpeg" or "dicom" by how a file begins; null for others. */
function findFormat(bytes) {
  if (startsWith(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return "png";
  if (startsWith(bytes, [0xff, 0xd8, 0xff])) return "jpeg";
  return isDicom(bytes) ? "dicom" : null;
}

function startsWith(bytes, start) {
  return start.every((byte, at) => bytes[at] === byte);
}
