"""Measure how fast and how flat `keras_mscam-predict` goes over many files.

    python experiments/serving/untrained.py runs/untrained
    python experiments/predicting/stream.py runs/untrained --files 10000

The bare model runs on ready arrays in a process of its own, before and after the
stream, with the same settings. Then a second stream is killed (-9) in its middle and
started again, and its results are compared with the first one's. Results go to
`OUTPUT/stream.json`.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from keras_mscam.batch_predict.journal import read_lines
from keras_mscam.phantom import write_phantoms

import cv2
import numpy as np
import tyro

_PHANTOMS = 40
_SIDE = 1024
_WARM = 0.05  # of the files, left out of the rate: the pools start, TensorFlow compiles

_BARE = """
import sys, time
import numpy as np
from keras_mscam.inference.predictor import Predictor
from keras_mscam.images.xray import Frame
model, runtime, batch, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
predictor = Predictor(model, runtime)
size = predictor.runtime.contract.image_size
images = np.random.default_rng(0).integers(0, 256, (batch, *size), "uint8")
frames = [Frame((1024, 1024))] * batch
for _ in range(3):
    predictor.predict_resized(images, frames)
start, count, cpu = time.monotonic(), 0, time.process_time()
while time.monotonic() - start < seconds:
    predictor.predict_resized(images, frames)
    count += batch
seconds = time.monotonic() - start
print(count / seconds, 1000 * (time.process_time() - cpu) / count)
"""


def main(
    run: tyro.conf.Positional[Path],
    files: int = 10_000,
    output: Path = Path("stream"),
    batch_size: int = 32,
    runtime: str = "auto",
    bare_seconds: int = 60,
    options: tuple[str, ...] = (),
    kill: bool = True,
) -> None:
    """Measure.

    Args:
        run: Model.
        files: Number of files.
        output: Folder to make, for files and results.
        batch_size: Images that the network takes at once.
        runtime: What runs the model.
        bare_seconds: Seconds that the bare model is measured for, twice.
        options: More options of the command, as --options=--overlays=none.
        kill: Whether to kill a second stream.
    """
    xrays = _write_files(output / "xrays", files)
    more = ["--batch-size", str(batch_size), "--runtime", runtime, *options]
    bare = [_measure_bare(run, runtime, batch_size, bare_seconds)]
    before = _measure_cpu()
    samples = _stream(run, xrays, output / "whole", more, files)
    cpu = _measure_cpu() - before
    bare.append(_measure_bare(run, runtime, batch_size, bare_seconds))
    rate = _compute_rate(samples, files)
    result = {
        "files": files,
        "options": more,
        "bare_images_a_second": [round(rate, 2) for rate, _ in bare],
        "stream_images_a_second": round(rate, 2),
        "ratio": round(rate / np.mean([rate for rate, _ in bare]), 3),
        "bare_cpu_ms_an_image": [round(cpu, 1) for _, cpu in bare],
        "stream_cpu_ms_an_image_with_start": round(1000 * cpu / files, 1),
        "memory_mb_at_tenths": _take_tenths(samples, files),
    }
    if kill:
        result["kill"] = _kill_and_compare(run, xrays, output, more, files)
    (output / "stream.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _write_files(folder: Path, count: int) -> Path:
    """Write phantoms and link them until there are enough, 1000 a folder."""
    phantoms = folder.with_name("phantoms")
    if not phantoms.exists():
        write_phantoms(phantoms, _PHANTOMS, size=(_SIDE, _SIDE), progress=False)
    sources = sorted(phantoms.rglob("*.png"))
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(sources[number % len(sources)], path)
    return folder


def _measure_bare(
    run: Path, runtime: str, batch: int, seconds: int
) -> tuple[float, float]:
    """Return images a second, and milliseconds of processors an image."""
    command = [sys.executable, "-c", _BARE, str(run), runtime, str(batch), str(seconds)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    rate, cpu = map(float, said.split())
    return rate, cpu


def _start(run: Path, xrays: Path, output: Path, more: list[str]) -> subprocess.Popen:
    command = [
        "-m",
        "keras_mscam.cli.predict",
        run,
        xrays,
        "--output",
        output,
        *more,
    ]
    return subprocess.Popen([sys.executable, *map(str, command)])


def _stream(run, xrays, output, more, files) -> list[tuple[float, int, float]]:
    """Run to the end; return seconds, lines and MB of memory, now and then."""
    process = _start(run, xrays, output, more)
    samples = []
    while process.poll() is None:
        samples.append((time.monotonic(), _count(output), _measure_memory(process.pid)))
        time.sleep(2)  # looking at all memory takes its time, too
    if process.returncode:
        raise SystemExit(f"The command ended with {process.returncode}.")
    return samples


def _count(output: Path) -> int:
    path = output / "predictions.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _measure_memory(pid: int) -> float:
    """Return the resident memory of a process and those under it, in MB.

    In proportion (PSS), as what they share would count several times.
    """
    total, waiting = 0, [pid]
    while waiting:
        pid = waiting.pop()
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(s.split()[1]) for s in lines if s.startswith("Pss:"))
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has ended
    return total / 1024


def _measure_cpu() -> float:
    """Return seconds of processors that ended processes have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compute_rate(samples, files: int) -> float:
    warm = next(item for item in samples if item[1] >= _WARM * files)
    end = next((item for item in samples if item[1] == files), samples[-1])
    return (end[1] - warm[1]) / (end[0] - warm[0])


def _take_tenths(samples, files: int) -> list[int]:
    tenths = (files * tenth / 10 for tenth in range(1, 11))
    return [
        round(next((m for _, done, m in samples if done >= tenth), samples[-1][2]))
        for tenth in tenths
    ]


def _kill_and_compare(run, xrays, output, more, files) -> dict:
    killed, whole = output / "killed", output / "whole"
    process = _start(run, xrays, killed, more)
    while _count(killed) < files // 2:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    at = _count(killed)
    _stream(run, xrays, killed, more, files)
    return {"killed_at": at, **_compare(killed, whole)}


def _compare(one: Path, other: Path) -> dict:
    difference, boxes, other_lines = 0.0, 0.0, 0
    first, second = list(read_lines(one)), list(read_lines(other))
    for a, b in zip(first, second, strict=True):
        same = all(a[key] == b[key] for key in ("path", "positives", "files"))
        other_lines += not (same and len(a["boxes"]) == len(b["boxes"]))
        for name, value in a["probabilities"].items():
            difference = max(difference, abs(value - b["probabilities"][name]))
        for box, twin in zip(a["boxes"], b["boxes"], strict=False):
            boxes = max(boxes, np.abs(np.subtract(box["xyxy"], twin["xyxy"])).max())
    paths = [item["path"] for item in first]
    pictures = sorted(path.name for path in (other / "overlays").glob("*"))
    return {
        "lines": len(first),
        "repeated": len(paths) - len(set(paths)),
        "other": other_lines,
        "largest_difference_of_probabilities": difference,
        "largest_difference_of_boxes_in_pixels": float(boxes),
        "pictures": len(pictures),
        "same_pictures_there": pictures
        == sorted(path.name for path in (one / "overlays").glob("*")),
        "pictures_that_cannot_be_read": sum(
            cv2.imread(str(one / "overlays" / name)) is None
            for name in pictures[:: max(1, len(pictures) // 500)]
        ),
    }


if __name__ == "__main__":
    tyro.cli(main)
