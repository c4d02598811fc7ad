// How X-rays come in: dropped, picked or pasted.

/**
 * Listen for files.
 *
 * @param {HTMLInputElement} input of type file.
 * @param {HTMLElement} zone to mark while something is dragged over the page.
 * @param {(files: File[]) => void} take
 */
export function listenForFiles(input, zone, take) {
  const offer = (files) => {
    if (files?.length) take([...files]);
  };
  input.addEventListener("change", () => {
    offer(input.files);
    input.value = ""; // so that the same file can be picked again
  });
  document.addEventListener("paste", (event) => offer(event.clipboardData?.files));
  let inside = 0;
  const mark = (change) => {
    inside = change === 0 ? 0 : Math.max(0, inside + change);
    zone.classList.toggle("dragged", inside > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(0);
    offer(event.dataTransfer?.files);
  });
}
