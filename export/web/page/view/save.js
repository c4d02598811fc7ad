// The result as files. They are made here and go nowhere but to the disk.

/** @param {HTMLCanvasElement} picture */
export function savePicture(picture, name) {
  picture.toBlob((blob) => save(blob, `${stem(name)}.findings.png`), "image/png");
}

/** @param {object} content as `Result.toDict` gives it. */
export function saveNumbers(content, name) {
  const text = `${JSON.stringify(content, null, 1)}\n`;
  save(new Blob([text], { type: "application/json" }), `${stem(name)}.findings.json`);
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "") || "xray";
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
