// The X-ray on the screen: what is drawn, and which part of it is seen.

import { drawBoxes, paintHeat, paintXray } from "./layers.js";

/** How far one may come in, in screen pixels a pixel of the image. */
const CLOSEST = 12;
const LINE = 1.75; // of a box, in CSS pixels

export class Viewer {
  /** @param {HTMLCanvasElement} canvas fills its place by style. */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.base = document.createElement("canvas");
    this.heat = document.createElement("canvas");
    this.xray = null;
    this.boxes = [];
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Show an X-ray, all of it. */
  setXray(xray, field) {
    Object.assign(this, { xray, field, boxes: [], hasHeat: false });
    this.fit();
  }

  setWindow(window) {
    if (!this.xray) return;
    paintXray(this.base, this.xray, window);
    this.draw();
  }

  /** @param {Float32Array} heat over the field, see `paintHeat`. */
  setHeat(heat, size, options) {
    const [left, top, right, bottom] = this.field;
    paintHeat(this.heat, heat, size, [bottom - top, right - left], options);
    this.hasHeat = true;
    this.draw();
  }

  setBoxes(boxes) {
    this.boxes = boxes;
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.move(0, 0);
  }

  /** Show all of the image, in the middle. */
  fit() {
    if (!this.xray) return;
    const [height, width] = this.xray.size;
    const { width: across, height: down } = this.canvas;
    const scale = Math.min(across / width, down / height);
    const [x, y] = [(across - width * scale) / 2, (down - height * scale) / 2];
    this.view = { scale, x, y };
    this.fitted = true;
    this.draw();
  }

  /**
   * Come closer by a factor.
   *
   * @param {number} factor
   * @param {[number, number]} at what stays in its place, in canvas pixels.
   */
  zoom(factor, at = [this.canvas.width / 2, this.canvas.height / 2]) {
    if (!this.xray) return;
    const [height, width] = this.xray.size;
    const whole = Math.min(this.canvas.width / width, this.canvas.height / height);
    const { scale, x, y } = this.view;
    const next = Math.min(Math.max(scale * factor, whole), Math.max(CLOSEST, whole));
    if (next <= whole) {
      this.fit();
      return;
    }
    const change = next / scale;
    const [px, py] = at;
    this.view = { scale: next, x: px - (px - x) * change, y: py - (py - y) * change };
    this.fitted = false;
    this.move(0, 0);
  }

  /** Move by so many canvas pixels; the image never leaves the view. */
  move(dx, dy) {
    if (!this.xray) return;
    const [height, width] = this.xray.size;
    const { scale, x, y } = this.view;
    this.view.x = keepInside(x + dx, width * scale, this.canvas.width);
    this.view.y = keepInside(y + dy, height * scale, this.canvas.height);
    this.draw();
  }

  /** Draw at the next chance, once however often it is asked for. */
  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.drawNow();
    });
  }

  drawNow() {
    const { context, canvas, view } = this;
    canvas.classList.toggle("fitted", this.fitted);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.xray) return;
    context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
    const ratio = window.devicePixelRatio || 1;
    this.compose(context, (LINE * ratio) / view.scale, view.scale < 4 * ratio);
  }

  /** Draw all layers, in pixels of the image. */
  compose(context, line, smooth = true) {
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.base, 0, 0);
    context.imageSmoothingEnabled = true;
    if (this.hasHeat) {
      const [left, top, right, bottom] = this.field;
      context.drawImage(this.heat, left, top, right - left, bottom - top);
    }
    drawBoxes(context, this.boxes, line);
  }

  /** Return the picture at the size of the image. */
  toPicture() {
    const [height, width] = this.xray.size;
    const picture = Object.assign(document.createElement("canvas"), { width, height });
    const line = Math.max(1, Math.floor(Math.max(height, width) / 256));
    this.compose(picture.getContext("2d"), line);
    return picture;
  }
}

function keepInside(offset, length, space) {
  if (length <= space) return (space - length) / 2;
  return Math.min(0, Math.max(space - length, offset));
}
