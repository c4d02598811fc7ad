// DICOM as old archives store it: without a preamble, often without meta information.

/** As in keras_mscam.images.reader: an element (0002,00xx) or (0008,00xx) of 255 bytes. */
const START =
  /^(?:[\x02\x08]\0[\0-\x18]\0(?:[A-Z]{2}.\0|.\0\0\0|OB\0\0)|\0\x08\0[\0-\x18][A-Z]{2}\0.)/s;
const PREAMBLE = 128;
const MAGIC = [0x44, 0x49, 0x43, 0x4d]; // DICM

const IMPLICIT = "1.2.840.10008.1.2";
const EXPLICIT = "1.2.840.10008.1.2.1";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";

export function isDicom(bytes) {
  return hasPreamble(bytes) || START.test(readStart(bytes));
}

/**
 * Return what dicom-parser takes.
 *
 * @param {Uint8Array} bytes of a file of which `isDicom` is true.
 * @returns {[Uint8Array, object]} data and options.
 */
export function complete(bytes) {
  if (hasPreamble(bytes)) return [bytes, {}];
  if (bytes[0] !== 2) return [bytes, { TransferSyntaxUID: findSyntax(bytes) }];
  const whole = new Uint8Array(PREAMBLE + MAGIC.length + bytes.length);
  whole.set(MAGIC, PREAMBLE);
  whole.set(bytes, PREAMBLE + MAGIC.length);
  return [whole, {}];
}

function findSyntax(bytes) {
  if (bytes[0] === 0) return BIG_ENDIAN;
  return /[A-Z]{2}/.test(readStart(bytes).slice(4, 6)) ? EXPLICIT : IMPLICIT;
}

function hasPreamble(bytes) {
  return MAGIC.every((byte, at) => bytes[PREAMBLE + at] === byte);
}

function readStart(bytes) {
  return String.fromCharCode(...bytes.subarray(0, 8));
}
