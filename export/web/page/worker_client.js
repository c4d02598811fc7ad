// The worker, seen from the page.

/**
 * Start the worker.
 *
 * It is started from a blob, because such a worker is bound by the content security
 * policy of this page; one loaded from a file is bound by headers alone, and a static
 * site may have none.
 *
 * @param {URL} base of the site.
 * @param {(message: object) => void} receive what `analysis.js` says.
 * @returns {(id: number, bytes: ArrayBuffer) => void} sends a file.
 */
export function startWorker(base, receive) {
  const address = (name) => JSON.stringify(new URL(name, base).href);
  const code = `importScripts(${address("vendor/dicom-parser.js")});
import(${address("analysis.js")}).then(
  ({ serve }) => serve(${address("./")}),
  (error) => postMessage({ kind: "failed", reason: String(error.message ?? error) }),
);`;
  const blob = new Blob([code], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(blob));
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => {
    event.preventDefault();
    receive({ kind: "failed", reason: event.message || "its worker can't be loaded" });
  };
  return (id, bytes) => worker.postMessage({ id, bytes }, [bytes]);
}
