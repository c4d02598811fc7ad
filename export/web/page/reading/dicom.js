// A DICOM radiograph to grey pixels, as keras_mscam.images.dicom.read does it.
// dicom-parser is a classic script, which leaves the global `dicomParser`.

import { complete } from "./bare_dicom.js";
import { isCompressed, isJpeg2000, readPixels } from "./dicom_pixels.js";
import { readShort, readWord } from "./dicom_values.js";
import { readFrame } from "./frame.js";
import { toGrey } from "./grey.js";
import { ImageError, checkSize } from "./image_error.js";

/** What a header must say. */
const NUMBERS = {
  x00280010: "Rows", x00280011: "Columns", x00280100: "BitsAllocated",
  x00280101: "BitsStored", x00280103: "PixelRepresentation",
}; // prettier-ignore
const RADIOGRAPHS = ["CR", "DX", "DR", "RG", "RF", "OT", "SC"];
const MONOCHROME = ["MONOCHROME1", "MONOCHROME2"];
const OF_JPEG_2000 = ["YBR_RCT", "YBR_ICT"];
const COLOURS = ["RGB", "YBR_FULL", "YBR_FULL_422", ...OF_JPEG_2000];

/**
 * Read a radiograph.
 *
 * @param {Uint8Array} bytes of the file.
 * @returns see `readImage`.
 * @throws {ImageError}
 */
export async function readDicom(bytes) {
  const dataset = parse(bytes);
  const header = readHeader(dataset);
  const stored = await guard("is damaged: its pixels cannot be decoded", () =>
    readPixels(dataset, header),
  );
  const pixels = toGrey(stored, header, dataset);
  return { pixels, size: [header.height, header.width], ...readFrame(dataset, header) };
}

function parse(bytes) {
  try {
    return globalThis.dicomParser.parseDicom(...complete(bytes));
  } catch (error) {
    // dicom-parser throws strings, and objects that hold what it read so far.
    if (/deflate/i.test(String(error?.exception ?? error))) {
      throw new ImageError("is a deflated DICOM file, which this page cannot read");
    }
    throw new ImageError("is damaged: its DICOM data cannot be read");
  }
}

async function guard(reason, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(reason, { cause: error });
  }
}

/** Read what the pixels are, and refuse what is no radiograph. */
function readHeader(dataset) {
  if (dataset.string("x00080070") === "keras_mscam") {
    throw new ImageError("is a result of keras_mscam, and no radiograph");
  }
  if (dataset.elements.x00041220) {
    throw new ImageError("is a DICOMDIR, which lists other files, and no image");
  }
  if (!dataset.elements.x00280010 || !dataset.elements.x00280011) {
    throw new ImageError("is a DICOM file without pixels");
  }
  const modality = readWord(dataset, "x00080060") || "OT";
  if (!RADIOGRAPHS.includes(modality)) {
    throw new ImageError(
      `is of modality ${quote(modality)}; radiographs are ${RADIOGRAPHS.join(", ")}`,
    );
  }
  if (!dataset.elements.x7fe00010?.length) {
    throw new ImageError("is a DICOM file without pixels, or an incomplete one");
  }
  const frames = Number(readWord(dataset, "x00280008")) || 1;
  if (frames > 1) throw new ImageError(`has ${frames} frames, not one`);
  const numbers = Object.entries(NUMBERS).map(([tag, name]) => readNeeded(dataset, tag, name));
  const [height, width, allocated, stored, isSigned] = numbers;
  checkSize(height, width);
  if (![8, 16].includes(allocated)) {
    throw new ImageError(`has ${allocated}-bit pixels; 8 and 16 bits can be read`);
  }
  const syntax = dataset.string("x00020010") ?? "1.2.840.10008.1.2";
  const { photometric, samples } = readColours(dataset, syntax);
  const planar = readShort(dataset, "x00280006");
  if (samples === 3 && ![0, 1].includes(planar) && !isCompressed(syntax)) {
    throw new ImageError("is damaged: its header has no valid PlanarConfiguration");
  }
  return {
    height, width, photometric, allocated, stored, samples, syntax,
    high: readShort(dataset, "x00280102"),
    signed: isSigned === 1,
    planar: planar === 1,
  }; // prettier-ignore
}

function readNeeded(dataset, tag, name) {
  const number = readShort(dataset, tag);
  if (number === undefined) {
    throw new ImageError(`is damaged: its header has no valid ${name}`);
  }
  return number;
}

/** Read what a pixel is made of, and of how many samples. */
function readColours(dataset, syntax) {
  const photometric = readWord(dataset, "x00280004");
  if (!photometric) {
    throw new ImageError("is damaged: its header has no PhotometricInterpretation");
  }
  if (![...MONOCHROME, ...COLOURS].includes(photometric)) {
    throw new ImageError(`has pixels of a kind unknown here: ${quote(photometric)}`);
  }
  if (OF_JPEG_2000.includes(photometric) && !isJpeg2000(syntax)) {
    throw new ImageError(`has pixels of a kind that only JPEG 2000 has: ${photometric}`);
  }
  const expected = MONOCHROME.includes(photometric) ? 1 : 3;
  const samples = readShort(dataset, "x00280002") || expected;
  if (samples !== expected) {
    throw new ImageError(
      `is damaged: its header says ${samples} samples per pixel, and ${photometric}, ` +
        `which has ${expected}`,
    );
  }
  return { photometric, samples };
}

/** Return a code string, which has no place for anything of the patient. */
function quote(value) {
  return /^[\w ]{1,16}$/.test(value) ? value : "an unknown one";
}
