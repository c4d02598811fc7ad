// The result as files. They are made here and go nowhere but to the disk.

import { givesBackExactly } from "../canvas.js";

/**
 * Save the picture of one pathology.
 *
 * @param {HTMLCanvasElement} picture
 * @param {string} name of the X-ray.
 * @param {string} pathology
 * @throws {Error} the browser gives no picture, or another one.
 */
export async function savePicture(picture, name, pathology) {
  const probe = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
  if (!givesBackExactly(probe)) {
    throw new Error("this browser changes its pixels, against fingerprinting");
  }
  const blob = await new Promise((resolve) => picture.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("it is too large for this browser");
  save(blob, `${stem(name)}.${pathology}.png`);
}

/** @param {object} content as `Result.toDict` gives it. */
export function saveNumbers(content, name) {
  const text = `${JSON.stringify(content, null, 1)}\n`;
  save(new Blob([text], { type: "application/json" }), `${stem(name)}.findings.json`);
}

/** DICOM files often have no ending, but a number with dots for a name. */
function stem(name) {
  return name.replace(/\.(png|jpe?g|dcm|dicom)$/i, "") || "xray";
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
