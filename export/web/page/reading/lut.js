// Lookup tables of a DICOM header (PS3.3, C.11.1.1 and C.11.2.1.1).

/**
 * Read the first table of a sequence: as many entries as there are, whatever its
 * descriptor says, and as many bits as the largest needs, 8 at least.
 *
 * @param {object} dataset of dicom-parser.
 * @param {string} tag of the sequence.
 * @returns {?{first: number, bits: number, values: Uint16Array}} null without one.
 */
export function readLut(dataset, tag) {
  const item = dataset.elements[tag]?.items?.[0]?.dataSet;
  const data = item?.elements.x00283006;
  if (!data || !item.elements.x00283002) return null;
  const said = item.uint16("x00283002", 0) || 65536;
  const isSigned = item.elements.x00283002.vr === "SS";
  const first = isSigned
    ? item.int16("x00283002", 1)
    : item.uint16("x00283002", 1);
  const words = data.length >> 1;
  const bytes = words === (said + 1) >> 1; // one byte a value
  const values = Uint16Array.from({ length: bytes ? said : words }, (_, i) =>
    bytes ? item.byteArray[data.dataOffset + i] : item.uint16("x00283006", i),
  );
  if (!values.length) return null;
  const largest = values.reduce((most, value) => Math.max(most, value), 0);
  return { first, bits: Math.max(8, largest.toString(2).length), values };
}

/**
 * Look values up; what lies outside of the table is its first or last value.
 *
 * The first value is stored in 16 bits, negative or not. Where it is above all values,
 * it was negative.
 */
export function applyLut({ first, values: entries }, values) {
  const highest = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const start = first >= 2 ** 15 && first > highest ? first - 2 ** 16 : first;
  return values.map((value) => {
    const place = roundHalfEven(value) - start;
    return entries[Math.min(Math.max(place, 0), entries.length - 1)];
  });
}

function roundHalfEven(value) {
  const near = Math.round(value);
  return Math.abs(value % 1) === 0.5 && near % 2 ? near - 1 : near;
}
