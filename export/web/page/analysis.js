// What the worker does: load the network once, then read and analyse files.

import { loadModel } from "./model.js";
import { resizeArea } from "./maps/resize.js";
import { describeValues } from "./reading/grey_values.js";
import { ImageError } from "./reading/image_error.js";
import { readImage } from "./reading/read_image.js";

/**
 * Answer messages of the page.
 *
 * In: {id, bytes: ArrayBuffer}. Out: {kind: "download", loaded, total}, {kind: "ready",
 * contract}, {kind: "failed", reason}; and for a file {kind: "step", id, step},
 * {kind: "done", id, xray, outputs}, {kind: "refused", id, reason}.
 */
export async function serve(base) {
  const model = loadModel(new URL(base), (loaded, total) =>
    self.postMessage({ kind: "download", loaded, total }),
  );
  self.onmessage = ({ data }) => answer(model, data);
  try {
    self.postMessage({ kind: "ready", contract: (await model).contract });
  } catch (error) {
    self.postMessage({ kind: "failed", reason: describe(error) });
  }
}

async function answer(loading, { id, bytes }) {
  const say = (kind, content, transfer) =>
    self.postMessage({ kind, id, ...content }, transfer);
  try {
    say("step", { step: "Reading the image" });
    const xray = await readImage(new Uint8Array(bytes));
    const { contract, run } = await loading;
    say("step", { step: "Looking for findings" });
    const image = resizeField(xray, contract.image_size);
    xray.warnings.push(...describeValues(image, contract.image_size));
    const outputs = await run(image);
    refuseNan(outputs);
    say("done", { xray, outputs }, [xray.pixels.buffer]);
  } catch (error) {
    const isKnown = error instanceof ImageError;
    say("refused", { reason: isKnown ? error.message : `failed: ${describe(error)}` });
  }
}

/** Return the part that is looked at, as the network takes it. */
function resizeField({ pixels, size: [height, width], field }, size) {
  const [left, top, right, bottom] = field ?? [0, 0, width, height];
  if (!field) return resizeArea(pixels, [height, width], size);
  const part = new Uint8Array((right - left) * (bottom - top));
  for (let y = top, at = 0; y < bottom; y++, at += right - left) {
    part.set(pixels.subarray(y * width + left, y * width + right), at);
  }
  return resizeArea(part, [bottom - top, right - left], size);
}

/** A network that overflows, or whose training diverged, gives what has no order. */
function refuseNan({ probabilities }) {
  if (!probabilities.data.every(Number.isFinite)) {
    throw new ImageError("has no probabilities: the model gives NaN for it");
  }
}

function describe(error) {
  return String(error?.message ?? error).split("\n")[0].slice(0, 200);
}
