// Mouse, touch and keyboard on the viewer.

const STEP = 48; // of an arrow key, in CSS pixels
const CLOSER = 1.25; // of a key or a button

/**
 * Let the viewer be moved: drag pans, wheel and pinch zoom, a drag with Shift or the
 * right button changes the window, a double click fits.
 *
 * @param {HTMLElement} place that takes the gestures and the focus.
 * @param {import("./viewer.js").Viewer} viewer
 * @param {(level: number, width: number) => void} changeWindow by so many grey levels.
 */
export function listen(place, viewer, changeWindow) {
  const pointers = new Map();
  const ratio = () => window.devicePixelRatio || 1;
  const toCanvas = (event) => {
    const box = viewer.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * ratio(), (event.clientY - box.top) * ratio()];
  };

  viewer.canvas.addEventListener("pointerdown", (event) => {
    viewer.canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, toCanvas(event));
  });
  viewer.canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = toCanvas(event);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      viewer.zoom(distance(now, other) / Math.max(distance(before, other), 1), other);
    } else if (event.shiftKey || event.buttons === 2) {
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      changeWindow((-dy / ratio()) * 0.5, (dx / ratio()) * 0.5);
    } else {
      viewer.move(now[0] - before[0], now[1] - before[1]);
    }
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    viewer.canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  viewer.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  viewer.canvas.addEventListener("dblclick", () => viewer.fit());
  viewer.canvas.addEventListener(
    "wheel",
    (event) => {
      if (!viewer.xray) return;
      event.preventDefault();
      viewer.zoom(Math.exp(-event.deltaY / 500), toCanvas(event));
    },
    { passive: false },
  );

  const move = (dx, dy) => viewer.move(dx * STEP * ratio(), dy * STEP * ratio());
  const keys = {
    ArrowLeft: () => move(1, 0),
    ArrowRight: () => move(-1, 0),
    ArrowUp: () => move(0, 1),
    ArrowDown: () => move(0, -1),
    "+": () => viewer.zoom(CLOSER),
    "=": () => viewer.zoom(CLOSER),
    "-": () => viewer.zoom(1 / CLOSER),
    0: () => viewer.fit(),
  };
  const windowKeys = {
    ArrowLeft: () => changeWindow(0, -8),
    ArrowRight: () => changeWindow(0, 8),
    ArrowUp: () => changeWindow(4, 0),
    ArrowDown: () => changeWindow(-4, 0),
  };
  place.addEventListener("keydown", (event) => {
    if (event.target !== place || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = (event.shiftKey && windowKeys[event.key]) || keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function distance([x1, y1], [x2, y2]) {
  return Math.hypot(x1 - x2, y1 - y2);
}
