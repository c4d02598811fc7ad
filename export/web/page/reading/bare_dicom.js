// DICOM as old archives store it: without a preamble, meta information or its syntax.

/** As in keras_mscam.images.reader: an element (0002,00xx) or (0008,00xx) of 255 bytes. */
const START =
  /^(?:[\x02\x08]\0[\0-\x18]\0(?:[A-Z]{2}.\0|.\0\0\0|OB\0\0)|\0\x08\0[\0-\x18][A-Z]{2}\0.)/s;
const PREAMBLE = 128;
const MAGIC = [0x44, 0x49, 0x43, 0x4d]; // DICM

/** Types of values whose length has 32 bits. */
const LONG = ["OB", "OW", "UN", "UT", "SQ"];

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
  const start = hasPreamble(bytes) ? PREAMBLE + MAGIC.length : 0;
  const { end, hasSyntax } = readMeta(bytes, start);
  if (!hasSyntax) {
    const rest = bytes.subarray(end);
    return [rest, { TransferSyntaxUID: findSyntax(rest) }];
  }
  if (start) return [bytes, {}];
  const whole = new Uint8Array(PREAMBLE + MAGIC.length + bytes.length);
  whole.set(MAGIC, PREAMBLE);
  whole.set(bytes, PREAMBLE + MAGIC.length);
  return [whole, {}];
}

/** Walk along the elements (0002,xxxx), to their end; one of them names the syntax. */
function readMeta(bytes, start) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [end, hasSyntax] = [start, false];
  while (end + 12 <= bytes.length && view.getUint16(end, true) === 2) {
    const isLong = LONG.includes(String.fromCharCode(bytes[end + 4], bytes[end + 5]));
    const length = isLong ? view.getUint32(end + 8, true) : view.getUint16(end + 6, true);
    hasSyntax ||= view.getUint16(end + 2, true) === 0x10 && length > 0;
    end += (isLong ? 12 : 8) + length;
  }
  return { end, hasSyntax };
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
