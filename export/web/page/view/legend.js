// The scale of colours, from cold to hot.

import { INFERNO } from "./inferno.js";

/** @param {HTMLCanvasElement} canvas of 256 by 1 pixels. */
export function paintLegend(canvas) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    image.data.set(INFERNO.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
