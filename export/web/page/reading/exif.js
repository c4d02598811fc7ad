// What EXIF data say of an image's orientation.

const ORIENTATION = 0x0112;

/**
 * Whether they ask to turn or mirror it.
 *
 * @param {Uint8Array} exif from its TIFF header on; empty, or damaged, it asks nothing.
 */
export function isTurned(exif) {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  try {
    const isLittle = view.getUint16(0) === 0x4949; // II
    const start = view.getUint32(4, isLittle);
    const count = view.getUint16(start, isLittle);
    for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
      if (view.getUint16(at, isLittle) !== ORIENTATION) continue;
      const value = view.getUint16(at + 8, isLittle);
      return value >= 2 && value <= 8;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return false;
}
