// Keeps the site for offline use. No image ever comes here: the page hands it to its
// worker by message.

importScripts("files.js");

// Caches belong to the origin, which may hold other sites of this kind.
const PREFIX = `keras_mscam ${self.registration.scope} `;
const NAME = PREFIX + self.SITE.version;

self.addEventListener("install", (event) => {
  // A newer version waits until no page of the older one is open.
  event.waitUntil(keepAll());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(forgetOthers().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { url, method } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});

async function keepAll() {
  const cache = await caches.open(NAME);
  const files = ["./", ...self.SITE.files];
  await cache.addAll(files.map((file) => new Request(file, { cache: "reload" })));
}

async function forgetOthers() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function answer(request) {
  const cache = await caches.open(NAME);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(request);
  if (response.status === 200) cache.put(request, response.clone());
  return response;
}
