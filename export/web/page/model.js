// The network, by LiteRT.

import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "./vendor/litert.js";
import { download, reach } from "./download.js";

/** The smallest module with an instruction of SIMD: `drop (i32x4.splat (i32.const 0))`. */
const VECTORS = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0,
  253, 17, 26, 11,
); // prettier-ignore

/** The output that is not used: the page fuses the blocks' maps itself. */
const UNUSED = "attention";

/**
 * Download and compile the network.
 *
 * @param {URL} base of the site.
 * @param {(loaded: number, total: number) => void} report bytes.
 * @returns {Promise<{contract: object, run: (pixels: Uint8Array) => Promise<object>}>}
 *     `run` takes grey pixels at the contract's image size and gives outputs by name,
 *     each {data: Float32Array, shape: number[]}.
 */
export async function loadModel(base, report) {
  checkBrowser();
  const index = await reach(new URL("site.json", base));
  const { model, contract, runtimes } = await index.json();
  const relaxed = await supportsFeature("relaxedSimd");
  const runtime = runtimes[relaxed ? "relaxed" : "compatible"];
  const files = [contract, model, runtime.wasm].map((file) => ({
    ...file,
    url: new URL(file.file, base).href,
  }));
  const [text, network, wasmBinary] = await download(files, report);
  // Given the binary, the runtime doesn't fetch it anew, out of sight.
  self.Module = { wasmBinary, printErr: reportErrors };
  await loadLiteRt(new URL(runtime.script, base).href);
  const compiled = await loadAndCompile(network, { accelerator: "wasm" });
  const parsed = JSON.parse(new TextDecoder().decode(text));
  return { contract: parsed, run: (pixels) => run(compiled, parsed, pixels) };
}

/** The runtime writes whatever it does to the stream for errors. */
function reportErrors(line) {
  if (!/^(INFO|WARNING)/.test(line) && /error/i.test(line)) console.error(line);
}

/** Say what is missing, where the runtime would end in the middle of something. */
function checkBrowser() {
  if (typeof WebAssembly === "undefined") {
    throw new Error("this browser has no WebAssembly, or doesn't allow it here");
  }
  if (!WebAssembly.validate(VECTORS)) {
    throw new Error("this browser's WebAssembly is too old: it has no SIMD");
  }
}

async function run(compiled, contract, pixels) {
  const image = new Tensor(Float32Array.from(pixels), [1, ...contract.image_size, 1]);
  const [{ name }] = compiled.getInputDetails();
  const outputs = await compiled.run({ [name]: image });
  image.delete();
  const result = {};
  for (const { name: key, shape } of compiled.getOutputDetails()) {
    if (key !== UNUSED) {
      result[key] = { data: outputs[key].toTypedArray().slice(), shape: [...shape] };
    }
    outputs[key].delete();
  }
  return result;
}
