"""What it costs to share a batch between two hosts: processes on one core each.

    pip install ".[jax]"
    python experiments/benchmarks/hosts.py

One process on one core trains on JAX, then two, each on a core of its own and with half
of every batch, which exchange gradients and statistics over the loopback network; then
one process on both cores. Seconds per step are the median of those after the first two.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro
from pipeline import SIZE, prepare_records


def compare(network: str = "densenet121", batch: int = 16, steps: int = 8) -> None:
    """Print a Markdown table.

    Args:
        network: Backbone.
        batch: Images in a step, those of both hosts together.
        steps: Steps of each.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The split leaves some 60% of them for training.
        records = prepare_records(Path(folder), 2 * batch * steps, SIZE)
        medians = []
        print("| processes | cores of each | seconds per step | of the first |")
        print("| --- | --- | --- | --- |")
        for cores in ([[0]], [[0], [1]], [[0, 1]]):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                hosts = [f"127.0.0.1:{free.getsockname()[1]}", "127.0.0.1"]
            name = f"{folder}/{len(cores)}x{len(cores[0])}"
            jobs = [
                {
                    "network": network, "batch": batch, "records": str(records),
                    "output": name, "cores": own, "index": index,
                    "hosts": hosts[: len(cores)] if len(cores) > 1 else [],
                }
                for index, own in enumerate(cores)
            ]  # fmt: skip
            times = run_together(jobs)
            medians.append(np.median(times[2:]))
            print(
                f"| {len(cores)} | {len(cores[0])} | {medians[-1]:.2f} | "
                f"{medians[-1] / medians[0]:.2f} |",
                flush=True,
            )


def run_together(jobs: list[dict]) -> list[float]:
    """Train in one process for each job, and return the first one's times."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(job)],
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for job in jobs
    ]
    ends = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, ends, strict=True):
        if process.returncode:
            raise SystemExit(errors)
    return json.loads(ends[0][0].splitlines()[-1])


def train_one(job: dict) -> None:
    """Train one epoch as one of the hosts, and print the seconds of every step."""
    os.sched_setaffinity(0, job["cores"])  # before anybody counts them
    from keras_mscam.configs import PRESETS
    from keras_mscam.evaluation import evaluate_run
    from keras_mscam.training.machines import Machines
    from keras_mscam.training.train_run import train

    import keras

    evaluate_run.evaluate = lambda *_: None
    times = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    paper = PRESETS["paper"]
    config = dataclasses.replace(
        paper,
        data=dataclasses.replace(paper.data, path=Path(job["records"])),
        model=dataclasses.replace(paper.model, backbone=job["network"], weights=None),
        training=dataclasses.replace(
            paper.training, batch_size=job["batch"], epochs=1, precision="float32"
        ),
    )
    hosts = tuple(job["hosts"])
    machines = Machines(hosts=hosts, host_index=job["index"] if hosts else None)
    train(config, Path(job["output"]), machines=machines, callbacks=[Clock()])
    print(json.dumps(np.diff(times).tolist()))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        train_one(json.loads(sys.argv[1]))
    else:
        tyro.cli(compare)
