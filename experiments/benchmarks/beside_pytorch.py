"""Training, prediction and maps beside PyTorch: DenseNet-121, in turns.

    python experiments/benchmarks/beside_pytorch.py --torch-python TORCH/bin/python \\
        --export EXPORTS
    ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2 python ...  # as without AVX-512
    KERAS_BACKEND=jax python experiments/benchmarks/beside_pytorch.py \\
        --precision bfloat16 --batches 32 128 512  # on a GPU

The network of this package and torchvision's are each in a process of its own, which
waits while the other works. PyTorch runs as it comes, with channels last, and compiled,
also each by itself, as what compiling loads slows down the others; its best in each row
counts. TORCH is an environment with `torch`, `torchvision` and
`grad-cam`, by default the one that runs this file. EXPORTS is made by
`keras_mscam-export RUN --output EXPORTS --formats saved_model litert onnx openvino`,
RUN by `experiments/serving/untrained.py`.

The lower bound of a row is the longer of two times: the operations of the convolutions
at the rate of a large one, and every layer's output written and read once at the
bandwidth of a large copy; both three times in training.
"""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np

PATHOLOGIES = 14
PYTORCH = ("eager", "channels_last", "compiled")
WORKS = {"training step": "train", "forward": "forward", "all maps": "maps"}


class Worker:
    """A process that does one piece of work at a time, and says how long it took."""

    def __init__(self, python: str, kind: str, *settings):
        self.process = subprocess.Popen(
            [python, __file__, "worker", kind, *map(str, settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, work: str, batch: int) -> float:
        """Return the seconds of one call, or what else the work finds out."""
        print(json.dumps([work, batch]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"The process for {work} ended; see above.")
        return json.loads(answer)


def main(
    torch_python: str = sys.executable,
    export: Path | None = None,
    network: str = "densenet121",
    size: int = 256,
    batches: tuple[int, ...] = (32, 1),
    precision: Literal["float32", "bfloat16"] = "float32",
    rounds: int = 5,
    pytorch: tuple[str, ...] = PYTORCH,
    grad_cam: bool = True,
) -> None:
    """Print a table.

    Args:
        torch_python: Python of an environment with PyTorch.
        export: Folder of exports, whose runtimes are measured too, with every variant.
        network: densenet121, or small_densenet against torchvision's DenseNet-121 where
            only the script is to be tried.
        size: Height and width of the images.
        batches: Images at a time; training takes all but 1.
        precision: Of both networks; bfloat16 is mixed precision.
        rounds: Turns of every piece of work.
        pytorch: How PyTorch runs: eager, channels_last, compiled (for minutes).
        grad_cam: Compare the maps with pytorch-grad-cam's.
    """
    own = Worker(sys.executable, "keras", network, size, precision)
    runtimes = Worker(sys.executable, "runtimes", export, size) if export else None
    torch = {name: Worker(torch_python, "torch", size, precision) for name in pytorch}
    first = torch[pytorch[0]]
    rates = {name: first.measure(name, 1) for name in ("operations", "bytes")}
    print(
        f"{size}x{size}, {precision}: {rates['operations'] / 1e9:.0f} G operations and "
        f"{rates['bytes'] / 1e9:.1f} GB a second\n\n"
        "| work | batch | s per image | over PyTorch's best | which | over bound |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    rows = _list_rows(own, runtimes, batches, torch, grad_cam)
    for title, batch, worker, work, others in rows:
        turns = {"own": (worker, work), **others}
        seconds = _take_turns(turns, batch, rounds)
        bound = None
        if worker is own:
            bound = max(own.measure(name, batch) / rate for name, rate in rates.items())
            bound *= 3 if work == "train" else 1
        _print_row(title, batch, seconds, bound)


def _list_rows(own, runtimes, batches, torch, grad_cam):
    """Yield a title, the batch, who works, its work, and PyTorch's turns beside it."""
    steps, forwards = (
        {f"{name} {kind}": (worker, f"{name} {kind}") for name, worker in torch.items()}
        for kind in ("train", "forward")
    )
    for batch in batches:
        for title, work in WORKS.items():
            if work != "train" or batch > 1:
                yield title, batch, own, work, steps if work == "train" else forwards
        for name in runtimes.measure("names", 1) if runtimes else ():
            yield f"all maps, {name}", batch, runtimes, name, forwards
    if grad_cam:
        turn = {"grad_cam": (next(iter(torch.values())), "grad_cam")}
        yield "all maps, over Grad-CAM", 1, own, "maps", turn


def _take_turns(turns: dict[str, tuple], batch: int, rounds: int) -> dict:
    """Return the seconds of every round, by who worked."""
    seconds = {name: [] for name in turns}
    for number in range(2 + rounds):
        for name, (worker, work) in turns.items():
            elapsed = worker.measure(work, batch)
            if number >= 2:  # the first calls trace and compile
                seconds[name].append(elapsed)
    return seconds


def _print_row(title: str, batch: int, seconds: dict, bound: float | None) -> None:
    own = np.array(seconds.pop("own"))
    best = min(seconds, key=lambda other: np.median(seconds[other]))
    low, middle, high = np.percentile(own / seconds[best], [25, 50, 75])
    ratio = f"{middle:.3g} [{low:.3g}, {high:.3g}]"
    median = np.median(own)
    over = f"{median / bound:.1f}" if bound else ""
    print(
        f"| {title} | {batch} | {median / batch:.4f} | {ratio} | {best} | {over} |",
        flush=True,
    )


def _answer(works) -> None:
    """Do what is asked for on standard input, until it ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    for line in sys.stdin:
        work, batch = json.loads(line)
        start = time.perf_counter()
        found = works(work, batch)
        elapsed = time.perf_counter() - start
        print(json.dumps(elapsed if found is None else found), file=out, flush=True)


def _keras_works(network: str, size: str, precision: str):
    import keras_mscam  # noqa: F401  first: it chooses TensorFlow's kernels

    # isort: split
    from keras_mscam.configs.schema import TrainingConfig
    from keras_mscam.modeling import build_classifier, build_localizer
    from keras_mscam.modeling.classifier import find_leaves
    from keras_mscam.training.fit import compile_trainer

    import keras

    size = int(size)
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    classifier = build_classifier(PATHOLOGIES, (size, size), network)
    trainer = compile_trainer(classifier, (0.9,) * PATHOLOGIES, TrainingConfig())
    localizer = build_localizer(classifier)
    images, labels = _draw(size)
    sizes = _count_work(keras, find_leaves(classifier).values(), precision)

    def work(name: str, batch: int):
        if name in sizes:
            return batch * sizes[name]
        if name == "train":
            trainer.train_on_batch(images[:batch, ..., None], labels[:batch])
        else:
            model = classifier if name == "forward" else localizer
            model.predict_on_batch(images[:batch, ..., None])
        return None

    return work


def _count_work(keras, layers, precision: str) -> dict[str, int]:
    """Count what an image takes: operations of convolutions, bytes of all outputs."""
    itemsize = 2 if precision == "bfloat16" else 4
    count = {"operations": 0, "bytes": 0}
    for layer in layers:
        for output in keras.tree.flatten(layer.output):
            count["bytes"] += 2 * itemsize * math.prod(output.shape[1:])
        if isinstance(layer, keras.layers.Conv2D):
            places = math.prod(layer.output.shape[1:3])
            count["operations"] += 2 * math.prod(layer.kernel.shape) * places
    return count


def _runtimes_works(export: str, size: str):
    from keras_mscam.exporting.formats.conversion import FORMATS
    from keras_mscam.inference.runtimes import load_runtime
    from keras_mscam.inference.runtimes.runtime import find_models

    images, _ = _draw(int(size))
    run = {}
    for name, path in find_models(export).items():
        run[name] = load_runtime(path).run
        variants = FORMATS[name].variants if name in FORMATS else ()
        for variant in variants[1:]:
            if path.with_stem(variant).exists():  # else the export left it out
                run[f"{name}, {variant}"] = load_runtime(path.with_stem(variant)).run

    def work(name: str, batch: int):
        if name == "names":
            return list(run)
        run[name](images[:batch])
        return None

    return work


def _torch_works(size: str, precision: str):
    import torch
    from torchvision.models import densenet121

    size = int(size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = precision == "bfloat16"
    images, labels = _draw(size)
    images = torch.tensor(images).to(device)[:, None].expand(-1, 3, -1, -1)
    labels = torch.tensor(labels).to(device)
    models = {}

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def prepare(kind: str):
        if kind not in models:
            model = densenet121(num_classes=PATHOLOGIES).to(device)
            if kind != "eager":
                model = model.to(memory_format=torch.channels_last)
            run = torch.compile(model) if kind == "compiled" else model
            models[kind] = model, run, torch.optim.Adam(model.parameters())
        return models[kind]

    def work(name: str, batch: int):
        if name in ("operations", "bytes"):
            return _measure_rate(torch, device, half, name)
        if name == "grad_cam":
            _grad_cam(prepare("eager")[0], images[:batch].float() / 255)
            return wait()
        kind, name = name.split()
        model, run, optimizer = prepare(kind)
        x = images[:batch].float() / 255
        if kind != "eager":
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            if name == "forward":
                model.eval()
                with torch.inference_mode():
                    run(x)
                return wait()
            model.train()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                run(x), labels[:batch]
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return wait()

    return work


def _measure_rate(torch, device: str, half: bool, name: str) -> float:
    """Return the operations, or the bytes read and written, a second at best."""
    if name == "operations":
        features = torch.rand(8, 256, 64, 64, device=device)
        kernel = torch.rand(256, 256, 3, 3, device=device)
        if half:
            features, kernel = features.bfloat16(), kernel.bfloat16()
        features = features.contiguous(memory_format=torch.channels_last)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        count = 2 * kernel.numel() * 8 * 62 * 62

        def work():
            torch.nn.functional.conv2d(features, kernel)

    else:
        large = torch.rand(2**26, device=device)
        copy = torch.zeros_like(large)
        count = 2 * 4 * 2**26

        def work():
            copy.copy_(large)

    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return count / min(seconds)


def _grad_cam(model, images) -> None:
    """Find the map of every pathology, as pytorch-grad-cam does: one by one."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model.eval()
    with GradCAM(model, [model.features[-1]]) as find_map:
        for pathology in range(PATHOLOGIES):
            find_map(images, [ClassifierOutputTarget(pathology)] * len(images))


def _draw(size: int):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (512, size, size)).astype("uint8")
    return images, rng.integers(0, 2, (512, PATHOLOGIES)).astype("float32")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        kinds = {
            "keras": _keras_works,
            "runtimes": _runtimes_works,
            "torch": _torch_works,
        }
        _answer(kinds[sys.argv[2]](*sys.argv[3:]))
    else:
        import tyro

        tyro.cli(main)
