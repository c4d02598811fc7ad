"""What the engine `ray` costs on one machine, and what a cluster would be planned by.

    python experiments/serving/untrained.py runs/untrained
    python experiments/benchmarks/engines.py runs/untrained --images FOLDER

Preparing and predicting take turns, here and on a Ray cluster that is started on this
machine with as many processors. Outputs are compared byte for byte. The first turn, in
which processes start and load the network, doesn't count.
"""

import filecmp
import json
import os
import resource
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

from keras_mscam.batch_predict.index import Summary, write_tables
from keras_mscam.batch_predict.journal import Journal
from keras_mscam.batch_predict.predict_files import predict
from keras_mscam.data.preparation import prepare
from keras_mscam.phantom import write_phantoms

import cv2
import numpy as np
import tyro
from timing import measure

ENGINES = ("local", "ray")


def main(
    run: tyro.conf.Positional[Path],
    images: Path | None = None,
    prepared: int = 2000,
    predicted: int = 256,
    rounds: int = 3,
    workers: int = 2,
) -> None:
    """Compare the engines.

    Args:
        run: Whose network predicts.
        images: Folder of X-rays as files of their own, whose sizes are told too.
        prepared: Number of synthetic radiographs of 1024x1024 to prepare; links to 40.
        predicted: Number of them to predict.
        rounds: Turns of each engine that count.
        workers: Processes, and processors of the cluster.
    """
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    settings = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": settings},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = link(folder, prepared)
        xrays = sorted((source / "images").iterdir())[:predicted]

        def run_prepare(engine: str, output: Path) -> None:
            prepare(source, output, workers=workers, engine=engine, progress=False)

        def run_predict(engine: str, output: Path) -> None:
            predict(run, xrays, output, workers=workers, engine=engine, progress=False)

        print("| work | here, s per image | Ray / here | head, ms of CPU per image |")
        print("| --- | --- | --- | --- |")
        for work, count in ((run_prepare, prepared), (run_predict, predicted)):
            compare(work, count, folder, rounds)
        if images is not None:
            tell_sizes(images, run, folder)


def link(folder: Path, count: int) -> Path:
    """Make a set of `count` images in ChestX-ray14's layout, links to 40."""
    drawn, source = folder / "drawn", folder / "source"
    write_phantoms(drawn, 40, size=(1024, 1024), progress=False)
    (source / "images").mkdir(parents=True)
    originals = sorted((drawn / "images").iterdir())
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age"
    rows = [f"{header},Patient Gender"]
    for number in range(count):
        path = source / "images" / f"{number:06d}.png"
        path.hardlink_to(originals[number % len(originals)])
        label = "Mass" if number % 2 else "No Finding"
        rows.append(f"{path.name},{label},0,{number},58,F")
    (source / "Data_Entry_2017.csv").write_text("\n".join(rows))
    return source


def compare(work, count: int, folder: Path, rounds: int) -> None:
    """Let the engines take turns, and print a row."""
    seconds = {engine: [] for engine in ENGINES}
    head = []
    for turn in range(rounds + 1):
        outputs = [folder / f"{engine}-{turn}" for engine in ENGINES]
        for engine, output in zip(ENGINES, outputs, strict=True):
            before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            seconds[engine].append(measure(work, engine, output))
        head.append(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before)
        check_same(*outputs)
        for output in outputs:
            shutil.rmtree(output)
    here, there = (np.array(seconds[engine][1:]) for engine in ENGINES)
    ratio = there / here
    print(
        f"| {work.__name__} | {np.median(here) / count:.4f} "
        f"| {np.median(ratio):.2f} [{ratio.min():.2f}, {ratio.max():.2f}] "
        f"| {np.median(head[1:]) / count * 1000:.2f} |",
        flush=True,
    )


def check_same(one: Path, other: Path) -> None:
    """Stop if two folders differ in any byte."""
    names = [
        {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
        for top in (one, other)
    ]
    assert names[0] == names[1]
    _, differ, errors = filecmp.cmpfiles(one, other, names[0], shallow=False)
    assert not differ and not errors, (differ, errors)


def tell_sizes(images: Path, run: Path, folder: Path) -> None:
    """Print bytes per image: of the files, of records of them, and of results.

    And the time that the head takes for the journal and the tables of results.
    """
    files = sorted(images.glob("*.png"))
    rows = ["path,patient,Mass"]
    rows += [f"{path.resolve()},{n},{n % 2}" for n, path in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(rows))
    prepare(folder / "labels.csv", folder / "records", split="test", progress=False)
    predict(run, files, folder / "results", progress=False)
    sizes = [path.stat().st_size for path in files]
    shape = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED).shape[:2]
    print(f"{len(files)} files of {shape}: {np.mean(sizes) / 1000:.0f} kB per image")
    for name in ("records", "results"):
        size = sum(p.stat().st_size for p in (folder / name).rglob("*") if p.is_file())
        print(f"{name}: {size / len(files) / 1000:.1f} kB per image")
    lines = (folder / "results" / "predictions.jsonl").read_text().splitlines()
    names = tuple(json.loads(lines[0])["probabilities"])
    (folder / "tables").mkdir()

    def write() -> None:
        with closing(Journal(folder / "tables")) as journal:
            for number in range(20_000):
                journal.append(lines[number % len(lines)])
        write_tables(Summary(folder / "tables"), names, "", html=False)

    print(f"journal and tables: {measure(write) / 20:.3f} ms per image")


if __name__ == "__main__":
    tyro.cli(main)
