// The network, by LiteRT.

import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "./vendor/litert.js";
import { download } from "./download.js";

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
  const { model, contract, runtimes } = await fetchJson(new URL("site.json", base));
  const relaxed = await supportsFeature("relaxedSimd");
  const runtime = runtimes[relaxed ? "relaxed" : "compatible"];
  const files = [contract, model, runtime.wasm].map(({ file, bytes }) => ({
    url: new URL(file, base).href,
    bytes,
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

async function fetchJson(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} can't be loaded.`);
  return response.json();
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
