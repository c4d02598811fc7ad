// A DICOM radiograph to grey pixels, as keras_mscam.images.dicom.read does it.
// dicom-parser is a classic script, which leaves the global `dicomParser`.

import { complete } from "./bare_dicom.js";
import { readPixels } from "./dicom_pixels.js";
import { readWord } from "./dicom_values.js";
import { readFrame } from "./frame.js";
import { toGrey } from "./grey.js";
import { ImageError, checkSize } from "./image_error.js";

const RADIOGRAPHS = ["CR", "DX", "DR", "RG", "RF", "OT", "SC"];
const MONOCHROME = ["MONOCHROME1", "MONOCHROME2"];
/** The last two are of JPEG 2000 alone, which is refused later, by its name. */
const COLOURS = ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"];

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
  const height = dataset.uint16("x00280010");
  const width = dataset.uint16("x00280011");
  if (height === undefined || width === undefined) {
    throw new ImageError("is a DICOM file without pixels");
  }
  checkSize(height, width);
  const modality = readWord(dataset, "x00080060") || "OT";
  if (!RADIOGRAPHS.includes(modality)) {
    throw new ImageError(
      `is of modality ${quote(modality)}; radiographs are ${RADIOGRAPHS.join(", ")}`,
    );
  }
  if (!dataset.elements.x7fe00010) {
    throw new ImageError("is a DICOM file without pixels, or an incomplete one");
  }
  const frames = Number(readWord(dataset, "x00280008")) || 1;
  if (frames > 1) throw new ImageError(`has ${frames} frames, not one`);
  const allocated = dataset.uint16("x00280100");
  if (![8, 16].includes(allocated)) {
    throw new ImageError(`has ${allocated} bits a pixel, not 8 or 16`);
  }
  const photometric = readWord(dataset, "x00280004");
  if (![...MONOCHROME, ...COLOURS].includes(photometric)) {
    throw new ImageError(`has pixels of a kind unknown here: ${quote(photometric)}`);
  }
  const expected = MONOCHROME.includes(photometric) ? 1 : 3;
  const samples = dataset.uint16("x00280002") || expected;
  if (samples !== expected) {
    throw new ImageError(
      `is damaged: its header says ${samples} samples per pixel, and ${photometric}, ` +
        `which has ${expected}`,
    );
  }
  return {
    height, width, photometric, allocated,
    stored: dataset.uint16("x00280101") ?? allocated,
    high: dataset.uint16("x00280102"),
    signed: dataset.uint16("x00280103") === 1,
    samples,
    planar: dataset.uint16("x00280006") === 1,
    syntax: dataset.string("x00020010") ?? "1.2.840.10008.1.2",
  }; // prettier-ignore
}

/** Return a code string, which has no place for anything of the patient. */
function quote(value) {
  return /^[\w ]{1,16}$/.test(value) ? value : "an unknown one";
}
