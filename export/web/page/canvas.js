/**
 * Whether a canvas gives back the pixels that were put on it: some browsers, as
 * Firefox with `privacy.resistFingerprinting` and Tor, give random ones.
 *
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas of 16 by 16 pixels at least.
 */
export function givesBackExactly(canvas) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(16, 16);
  for (let i = 0; i < image.data.length; i++) image.data[i] = i % 4 === 3 ? 255 : i / 4;
  context.putImageData(image, 0, 0);
  const { data } = context.getImageData(0, 0, 16, 16);
  return image.data.every((value, at) => value === data[at]);
}
