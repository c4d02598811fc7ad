// Values of a DICOM header, which may be missing, empty, several or nonsense.

/** Return an element's finite numbers; none where one of them is no number. */
export function readNumbers(dataset, tag) {
  const words = readWords(dataset, tag);
  const numbers = words.map(Number);
  return words.includes("") || !numbers.every(Number.isFinite) ? [] : numbers;
}

/** Return an element's code strings, in capitals and without spaces around. */
export function readWords(dataset, tag) {
  const text = dataset.string(tag);
  if (!text || !text.trim()) return [];
  return text.split("\\").map((word) => word.trim().toUpperCase());
}

/** Return the first of an element's code strings, "" where there is none. */
export function readWord(dataset, tag) {
  return readWords(dataset, tag)[0] ?? "";
}

/** Return an unsigned or signed 16-bit number, undefined where there is none. */
export function readShort(dataset, tag, signed = false, index = 0) {
  const element = dataset.elements[tag];
  if (!element || element.length < 2 * (index + 1)) return undefined;
  return signed ? dataset.int16(tag, index) : dataset.uint16(tag, index);
}
