// What EXIF data say of an image's orientation.

const ORIENTATION = 0x0112;
const LONG = 4; // a type, of 32 bits
const BYTE_ORDERS = { "II*\0": true, "MM\0*": false }; // whether the lowest is first
/** Which JPEG has ahead of it, and some PNG files too. */
const PREFIX = "Exif\0\0";

export function hasPrefix(exif) {
  return read(exif, PREFIX.length) === PREFIX;
}

/**
 * Whether they ask to turn or mirror it.
 *
 * @param {Uint8Array} exif with a prefix or without; empty, or damaged, it asks nothing.
 */
export function isTurned(exif) {
  while (hasPrefix(exif)) exif = exif.subarray(PREFIX.length);
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const isLittle = BYTE_ORDERS[read(exif, 4)];
  if (isLittle === undefined) return false;
  try {
    const start = view.getUint32(4, isLittle);
    const count = view.getUint16(start, isLittle);
    for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
      if (view.getUint16(at, isLittle) !== ORIENTATION) continue;
      const isLong = view.getUint16(at + 2, isLittle) === LONG;
      const value = view[isLong ? "getUint32" : "getUint16"](at + 8, isLittle);
      return value >= 2 && value <= 8;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return false;
}

function read(bytes, count) {
  return String.fromCharCode(...bytes.subarray(0, count));
}
