// Files of this site, with a word on how far they have come.

/**
 * Fetch files, and report the bytes of all of them together.
 *
 * @param {{url: string, bytes: number, sha256: string}[]} files their sizes are known
 *     beforehand, since a server that compresses them doesn't tell.
 * @param {(loaded: number, total: number) => void} report
 * @returns {Promise<Uint8Array[]>}
 */
export async function download(files, report) {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const add = (bytes) => report((loaded += bytes), total);
  return Promise.all(files.map((file) => fetchFile(file, add)));
}

/**
 * Fetch one file, and once more past all caches if it isn't the one of this version: a
 * network of another training has as many bytes, and would fit thresholds that aren't
 * its own.
 */
async function fetchFile(file, add) {
  for (const cache of ["no-cache", "reload"]) {
    const content = await fetchContent(file, cache, add);
    if (content && (await isTheOne(content, file))) return content;
    add(-(content?.length ?? 0));
  }
  throw new Error(
    `${file.url} is damaged, or of another version than this page; close all tabs of ` +
      "this page, and open it again",
  );
}

/** Return a file's content; null if it has not as many bytes as it should. */
async function fetchContent({ url, bytes }, cache, add) {
  const response = await reach(url, cache);
  const content = new Uint8Array(bytes);
  let at = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > bytes) break;
    content.set(part.value, at);
    at += part.value.length;
    add(part.value.length);
  }
  if (at === bytes) return content;
  add(-at);
  return null;
}

/**
 * Fetch an address.
 *
 * @param {string | URL} url
 * @param {RequestCache} cache "no-cache" asks whether what is kept is still the newest.
 * @returns {Promise<Response>}
 */
export async function reach(url, cache = "no-cache") {
  let response;
  try {
    response = await fetch(url, { cache });
  } catch {
    throw new Error(`${url} can't be reached`);
  }
  if (!response.ok) throw new Error(`${url} can't be loaded (status ${response.status})`);
  return response;
}

/** Compare checksums; over plain HTTP, browsers compute none. */
async function isTheOne(content, { sha256 }) {
  if (!self.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const digits = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0"));
  return digits.join("") === sha256;
}
