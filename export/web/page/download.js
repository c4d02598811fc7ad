// Files of this site, with a word on how far they have come.

/**
 * Fetch files, and report the bytes of all of them together.
 *
 * @param {{url: string, bytes: number}[]} files their sizes are known beforehand, since a
 *     server that compresses them doesn't tell.
 * @param {(loaded: number, total: number) => void} report
 * @returns {Promise<Uint8Array[]>}
 */
export async function download(files, report) {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const add = (bytes) => report((loaded += bytes), total);
  return Promise.all(files.map((file) => fetchFile(file, add)));
}

async function fetchFile({ url, bytes }, add) {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`${url} can't be loaded (status ${response.status}).`);
  }
  const content = new Uint8Array(bytes);
  let at = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > bytes) break;
    content.set(part.value, at);
    at += part.value.length;
    add(part.value.length);
  }
  if (at !== bytes) throw new Error(`${url} is incomplete; load the page again.`);
  return content;
}
