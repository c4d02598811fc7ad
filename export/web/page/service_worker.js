// Keeps the site for offline use. No image ever comes here: the page hands it to its
// worker by message.

importScripts("files.js");

// Caches belong to the origin, which may hold other sites of this kind.
const SCOPE = self.registration.scope;
const PREFIX = `keras_mscam ${SCOPE} `;
const NAME = PREFIX + self.SITE.version;
/** The scope may hold other pages, as the root of an origin does. */
const OWN = new Set(
  ["./", ...self.SITE.files, ...self.SITE.late].map((file) => new URL(file, SCOPE).href),
);

self.addEventListener("install", (event) => {
  // A newer version waits until no page of the older one is open.
  event.waitUntil(keepAll());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(forgetOthers().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method === "GET" && OWN.has(origin + pathname)) {
    event.respondWith(answer(event.request));
  }
});

async function keepAll() {
  const cache = await caches.open(NAME);
  const files = ["./", ...self.SITE.files, ...(await findLate())];
  await cache.addAll(files.map((file) => new Request(file, { cache: "reload" })));
}

/** Find which large files an older version kept: an update must leave them offline. */
async function findLate() {
  const old = await Promise.all((await listOthers()).map((name) => caches.open(name)));
  const requests = await Promise.all(old.map((cache) => cache.keys()));
  const kept = requests.flat().map(({ url }) => url);
  return self.SITE.late.filter((file) => kept.includes(new URL(file, SCOPE).href));
}

async function forgetOthers() {
  await Promise.all((await listOthers()).map((name) => caches.delete(name)));
}

async function listOthers() {
  const names = await caches.keys();
  return names.filter((name) => name.startsWith(PREFIX) && name !== NAME);
}

async function answer(request) {
  const cache = await caches.open(NAME);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept && request.cache !== "reload") return kept;
  const response = await fetch(request);
  if (response.status === 200) cache.put(request, response.clone());
  return response;
}
