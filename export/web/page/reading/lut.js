// Lookup tables of a DICOM header (PS3.3, C.11.1.1 and C.11.2.1.1).

/**
 * Read the first table of a sequence.
 *
 * @param {object} dataset of dicom-parser.
 * @param {string} tag of the sequence.
 * @param {boolean} signed whether the first mapped value is.
 * @returns {?{first: number, bits: number, values: Uint16Array}} null without one.
 */
export function readLut(dataset, tag, signed) {
  const item = dataset.elements[tag]?.items?.[0]?.dataSet;
  const data = item?.elements.x00283006;
  if (!data || !item.elements.x00283002) return null;
  const count = item.uint16("x00283002", 0) || 65536;
  const first = signed
    ? item.int16("x00283002", 1)
    : item.uint16("x00283002", 1);
  const bits = item.uint16("x00283002", 2);
  const bytes = data.length < 2 * count; // one byte a value
  const values = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    values[i] = bytes
      ? item.byteArray[data.dataOffset + i]
      : item.uint16("x00283006", i);
  }
  return { first, bits, values };
}

/** Look a value up; what lies outside of the table is its first or last value. */
export function applyLut({ first, values }, value) {
  const place = Math.trunc(value) - first;
  return values[Math.min(Math.max(place, 0), values.length - 1)];
}
