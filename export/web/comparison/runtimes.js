// Each runtime as {load, run}: `load` returns a function of a Float32Array image that
// returns {name: Float32Array}.

const MODULES = "/node_modules";

async function loadScripts(names) {
  for (const name of names) {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${MODULES}/${name}`;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name} can't be loaded`));
      document.head.append(script);
    });
  }
}

async function loadLitert([height, width], threads) {
  const litert = await import(`${MODULES}/@litertjs/core/dist/index.js`);
  await litert.loadLiteRt(`${MODULES}/@litertjs/core/wasm/`, { threads });
  const model = await litert.loadAndCompile("/litert/float32.tflite", {
    accelerator: "wasm",
  });
  return async (image) => {
    const tensor = new litert.Tensor(image, [1, height, width, 1]);
    const outputs = await model.run({ [model.getInputDetails()[0].name]: tensor });
    tensor.delete();
    return Object.fromEntries(
      Object.entries(outputs).map(([name, output]) => {
        const values = output.toTypedArray().slice();
        output.delete();
        return [name, values];
      }),
    );
  };
}

async function loadTfjs([height, width], backend) {
  const packages = ["core/dist/tf-core", "backend-cpu/dist/tf-backend-cpu"];
  packages.push("converter/dist/tf-converter");
  packages.push(`backend-${backend}/dist/tf-backend-${backend}`);
  await loadScripts(packages.map((name) => `@tensorflow/tfjs-${name}.min.js`));
  const tf = globalThis.tf;
  if (backend === "wasm") {
    tf.wasm.setWasmPaths(`${MODULES}/@tensorflow/tfjs-backend-wasm/dist/`);
  }
  if (!(await tf.setBackend(backend))) throw new Error(`no ${backend} here`);
  const model = await tf.loadGraphModel("/tfjs/float32/model.json");
  const names = Object.keys(model.modelSignature.outputs);
  return async (image) => {
    const tensor = tf.tensor(image, [1, height, width, 1]);
    const outputs = model.execute(tensor, names.map((name) =>
      model.modelSignature.outputs[name].name));
    const values = await Promise.all(outputs.map((output) => output.data()));
    tf.dispose([tensor, outputs]);
    return Object.fromEntries(names.map((name, at) => [name, values[at]]));
  };
}

async function loadOnnx([height, width]) {
  const ort = await import(`${MODULES}/onnxruntime-web/dist/ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = `${MODULES}/onnxruntime-web/dist/`;
  if (!self.crossOriginIsolated) ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create("/onnx/float32.onnx");
  return async (image) => {
    const tensor = new ort.Tensor("float32", image, [1, height, width, 1]);
    const outputs = await session.run({ [session.inputNames[0]]: tensor });
    return Object.fromEntries(
      session.outputNames.map((name) => [name, outputs[name].data]),
    );
  };
}

export const RUNTIMES = {
  litert: (size) => loadLitert(size, false),
  "litert-threads": (size) => loadLitert(size, true),
  "tfjs-wasm": (size) => loadTfjs(size, "wasm"),
  "tfjs-webgl": (size) => loadTfjs(size, "webgl"),
  onnx: (size) => loadOnnx(size),
};
