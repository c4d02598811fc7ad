// What is going on, in words that a screen reader speaks, and a bar.

const ids = ["status", "progress", "error", "news"];
const [status, progress, error, news] = ids.map((id) =>
  document.getElementById(id),
);

/**
 * Say what is being done.
 *
 * @param {string} text
 * @param {?number} fraction of it that is done; null where that is unknown.
 */
export function sayBusy(text, fraction = null) {
  if (status.textContent !== text) status.textContent = text;
  progress.hidden = false;
  if (fraction === null) progress.removeAttribute("value");
  else progress.value = fraction;
}

/** Say what was done. */
export function sayDone(text) {
  status.textContent = text;
  progress.hidden = true;
}

/** Say what stays true until the page is left. */
export function sayNews(text) {
  news.textContent = text;
}

/** Say what went wrong, in one sentence; "" takes it back. */
export function sayError(text) {
  error.textContent = text;
}
