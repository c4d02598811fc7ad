/**
 * Have the service worker keep the site, and wait until it does, so that what is loaded
 * from here on is kept too. Where there is none (plain HTTP, private windows), or it
 * takes long, the page works without.
 *
 * @param {URL} base of the site.
 */
export async function keepOffline(base) {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register(new URL("service_worker.js", base));
    await Promise.race([isControlled(), wait(5000)]);
  } catch {
    // Forbidden by the browser's settings.
  }
}

function isControlled() {
  return new Promise((resolve) => {
    if (navigator.serviceWorker.controller) resolve();
    navigator.serviceWorker.addEventListener("controllerchange", resolve);
  });
}

function wait(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
