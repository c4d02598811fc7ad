/**
 * Have the service worker keep the site, and wait until it does, so that what is loaded
 * from here on is kept too. Where there is none (plain HTTP, private windows, a forced
 * reload), or it takes long, the page works without.
 *
 * @param {URL} base of the site.
 * @param {() => void} sayNewer is called when a newer version of the site is kept, which
 *     comes into use when no tab shows this one.
 */
export async function keepOffline(base, sayNewer) {
  if (!("serviceWorker" in navigator)) return;
  try {
    const worker = new URL("service_worker.js", base);
    // "none": the list of files that it imports is never taken from the HTTP cache,
    // where it may lie for days after the site has changed.
    const registration = await navigator.serviceWorker.register(worker, {
      updateViaCache: "none",
    });
    watch(registration, sayNewer);
    // Browsers look for a newer one when they see fit, on a busy machine not at all.
    registration.update().catch(() => {}); // offline
    await Promise.race([isControlled(registration), wait(5000)]);
  } catch {
    // Forbidden by the browser's settings.
  }
}

function watch(registration, sayNewer) {
  const check = () => {
    if (registration.waiting && navigator.serviceWorker.controller) sayNewer();
  };
  const follow = () => {
    registration.installing?.addEventListener("statechange", check);
  };
  registration.addEventListener("updatefound", follow);
  follow(); // one may be on its way before anybody listens
  check();
}

function isControlled(registration) {
  return new Promise((resolve) => {
    const { controller } = navigator.serviceWorker;
    // It claims pages before it counts as activated: what it has not by then, it won't.
    const isOver = registration.active?.state === "activated";
    if (controller || isOver) resolve();
    navigator.serviceWorker.addEventListener("controllerchange", resolve);
  });
}

function wait(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
