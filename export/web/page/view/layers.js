// The layers of the picture: the X-ray behind its window, and the heat above it.

import { resizeBilinear } from "../maps/resize.js";
import { INFERNO } from "./inferno.js";

/** Heat is coloured at this size at most, and enlarged by the canvas from there. */
const LONGEST_SIDE = 768;

/**
 * Paint grey pixels through a window.
 *
 * @param {HTMLCanvasElement} canvas made as large as the image.
 * @param {{pixels: Uint8Array, size: [number, number]}} xray
 * @param {{centre: number, width: number}} window in grey levels, 0 to 255.
 */
export function paintXray(canvas, { pixels, size: [height, width] }, window) {
  const low = window.centre - window.width / 2;
  const table = Uint8ClampedArray.from({ length: 256 }, (_, grey) =>
    Math.round((255 * (grey - low)) / window.width),
  );
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height });
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const colours = new Uint32Array(image.data.buffer);
  const greys = Uint32Array.from(table, (grey) =>
    new Uint32Array(Uint8Array.of(grey, grey, grey, 255).buffer)[0],
  );
  for (let i = 0; i < pixels.length; i++) colours[i] = greys[pixels[i]];
  context.putImageData(image, 0, 0);
}

/**
 * Paint a heat map, transparent where it is cold.
 *
 * alpha = opacity * heat ** 2 * (3 - 2 * heat), as keras_mscam.visualization.overlay.draw_overlay.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} heat in [0, 1].
 * @param {[number, number]} size its [height, width].
 * @param {[number, number]} shown [height, width] of the field it covers.
 * @param {{opacity: number, above: number}} options `above`: heat up to there is hidden.
 */
export function paintHeat(canvas, heat, size, shown, { opacity, above }) {
  const factor = Math.min(1, LONGEST_SIDE / Math.max(...shown));
  const [height, width] = shown.map((side) => Math.max(1, Math.round(side * factor)));
  const enlarged = resizeBilinear(heat, size, [height, width]);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0, at = 0; i < enlarged.length; i++, at += 4) {
    const value = enlarged[i];
    if (!(value > above)) continue;
    paintColour(image.data, at, value);
    image.data[at + 3] = Math.round(255 * opacity * value * value * (3 - 2 * value));
  }
  context.putImageData(image, 0, 0);
}

/** Paint a small map as it is, pixel by pixel. */
export function paintMap(canvas, { values, size: [height, width] }) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  values.forEach((value, i) => {
    paintColour(image.data, 4 * i, value);
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function paintColour(data, at, value) {
  const colour = 3 * Math.round(255 * Math.min(Math.max(value, 0), 1));
  for (let channel = 0; channel < 3; channel++) {
    data[at + channel] = INFERNO[colour + channel];
  }
}

/**
 * Draw boxes, cyan on a dark rim, which keeps the line apart from bright bones.
 *
 * @param {CanvasRenderingContext2D} context in pixels of the image.
 * @param {{xyxy: number[]}[]} boxes
 * @param {number} line width of the line in pixels of the image.
 */
export function drawBoxes(context, boxes, line) {
  context.lineJoin = "miter";
  context.lineWidth = line;
  // The rim lies around the box, the line inside of it.
  for (const [colour, inset] of [["#000", -line / 2], ["#0ff", line / 2]]) {
    context.strokeStyle = colour;
    for (const { xyxy: [left, top, right, bottom] } of boxes) {
      const [width, height] = [right - left - 2 * inset, bottom - top - 2 * inset];
      context.strokeRect(left + inset, top + inset, width, height);
    }
  }
}
