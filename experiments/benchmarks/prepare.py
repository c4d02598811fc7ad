"""How fast X-rays become records, and in how much memory.

    pip install imagecodecs
    python experiments/benchmarks/prepare.py rate --images FOLDER
    python experiments/benchmarks/prepare.py archives --images FOLDER
    python experiments/benchmarks/prepare.py memory
    python experiments/benchmarks/prepare.py killed

`rate` lets the bare loops of several PNG decoders (read a file, decode it, throw it
away) and `keras_mscam-prepare` take turns on the same files with the same number of
processes. `archives` compares a `tar.gz` with files. `memory` prepares sets of
growing size and reports the peak of the process that collects the results; its workers
hold 16 images each. `killed` ends preparing by `kill -9` again and again, at random
moments, and compares what comes of it.
"""

import filecmp
import json
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from keras_mscam.data.archives import list_members
from keras_mscam.data.preparation import prepare
from keras_mscam.parallel.in_order import map_in_order
from keras_mscam.phantom import write_phantoms

import cv2
import numpy as np
import tyro
from PIL import Image
from timing import measure

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender"


def decode_with_opencv(path: Path) -> int:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED).size


def decode_with_pillow(path: Path) -> int:
    return np.asarray(Image.open(path)).size


def decode_with_libpng(path: Path) -> int:
    import imagecodecs

    return imagecodecs.png_decode(path.read_bytes()).size


def decode_with_libspng(path: Path) -> int:
    import imagecodecs

    return imagecodecs.spng_decode(path.read_bytes()).size


DECODERS = {
    "OpenCV": decode_with_opencv,
    "Pillow": decode_with_pillow,
    "imagecodecs, libpng": decode_with_libpng,
    "imagecodecs, libspng": decode_with_libspng,
}


def rate(images: Path, copies: int = 10, rounds: int = 3, workers: int = 2) -> None:
    """Compare the rate of preparing with that of bare decoding.

    Args:
        images: Folder of PNG files.
        copies: Times that each file is linked, so that starting processes counts less.
        rounds: Turns that each takes.
        workers: Processes.
    """
    import keras_mscam.data.tfrecords  # noqa: F401, its import takes seconds

    with tempfile.TemporaryDirectory() as folder:
        source = _link(sorted(images.glob("*.png")), copies, Path(folder) / "source")
        files = sorted((source / "images").iterdir())
        jobs = [(path,) for path in files]

        def run_decoder(decode: Callable) -> None:
            for _ in map_in_order(decode, jobs, workers):
                pass

        def run_prepare(number: int) -> None:
            prepare(source, Path(folder) / str(number), workers=workers, progress=False)

        rates = {name: [] for name in [*DECODERS, "keras_mscam-prepare"]}
        for number in range(rounds):
            for name, decode in DECODERS.items():
                rates[name].append(len(files) / measure(run_decoder, decode))
            rates["keras_mscam-prepare"].append(
                len(files) / measure(run_prepare, number)
            )
    fastest = np.max([rates[name] for name in DECODERS], axis=0)
    print(f"{len(files)} images, {workers} processes, {rounds} rounds")
    print("| | images a second, median | share of the fastest decoder of its round |")
    print("| --- | --- | --- |")
    for name, values in rates.items():
        share = np.median(np.array(values) / fastest)
        print(f"| {name} | {np.median(values):.0f} | {share:.2f} |")


def archives(images: Path, copies: int = 10, rounds: int = 3, workers: int = 2) -> None:
    """Compare preparing from a packed archive with preparing from files.

    Args:
        images: Folder of PNG files.
        copies: Times that each file is linked, and packed.
        rounds: Turns that each takes.
        workers: Processes.
    """
    import keras_mscam.data.tfrecords  # noqa: F401, its import takes seconds

    with tempfile.TemporaryDirectory() as folder:
        files = sorted(images.glob("*.png"))
        unpacked = _link(files, copies, Path(folder) / "unpacked")
        packed = Path(folder) / "packed"
        packed.mkdir()
        shutil.copy(unpacked / "Data_Entry_2017.csv", packed)
        archive = packed / "images_001.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1, dereference=True) as tar:
            tar.add(unpacked / "images", "images")
        seconds = measure(list_members, archive)
        print(f"listing: {archive.stat().st_size / 1e6 / seconds:.0f} MB a second")
        ratios = []
        for number in range(rounds):
            times = [
                measure(
                    lambda source, number=number: prepare(
                        source,
                        source / f"records-{number}",
                        workers=workers,
                        progress=False,
                    ),
                    source,
                )
                for source in (packed, unpacked)
            ]
            ratios.append(times[0] / times[1])
    print(f"time from the archive / from files: {np.median(ratios):.2f}, {ratios}")


def memory(sizes: tuple[int, ...] = (2500, 5000, 10000, 20000, 40000)) -> None:
    """Report the peak memory over the number of images.

    Args:
        sizes: Numbers of images; beyond 2,500 phantoms of 256x256 they are links.
    """
    with tempfile.TemporaryDirectory() as folder:
        phantoms = Path(folder) / "phantoms"
        write_phantoms(phantoms, 2500)
        files = sorted((phantoms / "images").iterdir())
        print("| images | peak, MiB | seconds |\n| --- | --- | --- |")
        for size in sizes:
            source = _link(files, size // len(files), Path(folder) / f"source-{size}")
            output = Path(folder) / f"records-{size}"
            command = [sys.executable, __file__, "peak", str(source), str(output)]
            result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            mebibytes, seconds = json.loads(result.stdout)
            print(f"| {size} | {mebibytes:.0f} | {seconds:.0f} |", flush=True)


def peak(source: tyro.conf.Positional[Path], output: tyro.conf.Positional[Path]):
    """Prepare one set and print its peak memory, for `memory`.

    Args:
        source: What to prepare.
        output: Where to.
    """
    seconds = measure(
        lambda: prepare(source, output, image_size=(128, 128), progress=False)
    )
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([kibibytes / 1024, seconds]))


def killed(images: int = 10000, kills: int = 10, seed: int = 0) -> None:
    """Kill, go on, and compare with an uninterrupted run.

    Args:
        images: Size of the set: links to 2,500 phantoms of 256x256.
        kills: Times that it is killed.
        seed: Of the moments.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        phantoms, output = Path(folder) / "phantoms", Path(folder) / "output"
        write_phantoms(phantoms, 2500)
        files = sorted((phantoms / "images").iterdir())
        source = _link(files, images // len(files), Path(folder) / "source")
        seconds = measure(prepare, source, Path(folder) / "whole")
        command = [sys.executable, "-m", "keras_mscam.cli.prepare", str(source)]
        for number in range(kills):
            process = subprocess.Popen(
                [*command, "--output", str(output)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(rng.uniform(1, seconds))
            process.kill()
            process.wait()
            parts = len(list(output.parent.glob(".output.unfinished/part-*.json")))
            print(f"kill {number + 1}: {parts} whole parts", flush=True)
            if output.exists():
                # It was done: look at it, and begin anew.
                _compare(output, Path(folder) / "whole")
                shutil.rmtree(output)
        prepare(source, output)
        _compare(output, Path(folder) / "whole")


def _compare(output: Path, whole: Path) -> None:
    names = {path.name for path in [*output.iterdir(), *whole.iterdir()]}
    differ = [n for n in names if not filecmp.cmp(output / n, whole / n, shallow=False)]
    print(f"{len(names)} files, {len(differ)} differ", flush=True)


def _link(files: list[Path], copies: int, source: Path) -> Path:
    """Make a folder in ChestX-ray14's layout of several links to each file."""
    (source / "images").mkdir(parents=True)
    rows = [HEADER]
    for copy in range(copies):
        for number, path in enumerate(files):
            name = f"{copy:04d}_{path.name}"
            (source / "images" / name).hardlink_to(_near(path, source))
            label = "Mass" if number % 2 else "No Finding"
            rows.append(f"{name},{label},0,{copy}-{number},58,F")
    (source / "Data_Entry_2017.csv").write_text("\n".join(rows))
    return source


def _near(path: Path, source: Path) -> Path:
    """Copy a file to where it can be linked to: the same file system."""
    near = source.parent / "originals" / path.name
    if not near.exists():
        near.parent.mkdir(exist_ok=True)
        near.write_bytes(path.read_bytes())
    return near


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {
            "rate": rate,
            "archives": archives,
            "memory": memory,
            "peak": peak,
            "killed": killed,
        },
        prog="prepare.py",
    )
