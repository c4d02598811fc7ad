"""32 clients at once: is every answer the right one, how many a second, how late?

    python experiments/serving/load.py EXPORT --seconds 300

Starts `keras_mscam-serve` on an export. Every client sends one phantom after the other,
each another, and compares the answer with what the SavedModel itself says of that very
phantom: an answer of another image counts as mixed up. The bare model takes the same
phantoms in full batches, before and after. Clients, server and model share the cores.
"""

import itertools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.export_folder import find_formats
from keras_mscam.inference.runtimes.tensorflow_keras import (
    load_signatures,
    run_signature,
)
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit
from keras_mscam.serving import Client

import numpy as np
import tyro
from server import Watch, start_server

_PHANTOMS = 256
_BATCH = 32


def main(
    models: tyro.conf.Positional[Path],
    seconds: float = 300,
    clients: int = 32,
    signature: str = "boxes",
    protocol: str = "grpc",
    bare_seconds: float = 30,
) -> None:
    """Load a server.

    Args:
        models: Model repository that keras_mscam-export made.
        seconds: How long.
        clients: At once.
        signature: That they call.
        protocol: grpc or rest.
        bare_seconds: How long the bare model is measured, before and after.
    """
    contract = read_contract(find_formats(models)["saved_model"])
    phantoms = [draw(number, contract.image_size) for number in range(_PHANTOMS)]
    expected, before = measure_bare(models, signature, phantoms, bare_seconds)
    ports = {"rest": 8601, "grpc": 8600}
    server = start_server(models, ports)
    url = f"{'grpc' if protocol == 'grpc' else 'http'}://127.0.0.1:{ports[protocol]}"
    try:
        watch = Watch(server.pid)
        times, wrong, failed = load(
            url, signature, phantoms, expected, clients, seconds
        )
        memory, server_seconds, own_seconds = watch.stop()
    finally:
        server.terminate()
        code = server.wait(60)
    _, after = measure_bare(models, signature, phantoms, bare_seconds)
    bare, rate = (before + after) / 2, len(times) / seconds
    print(f"{clients} clients, {protocol}, {signature}, {seconds:g} s")
    print(f"answers       {len(times)}, mixed up {wrong}, failed {failed}")
    print(f"rate          {rate:.1f}/s; bare {before:.1f} and {after:.1f}/s, batch 32")
    print(f"ratio         {rate / bare:.3f}")
    for percent in (50, 95, 99):
        print(f"p{percent}           {np.percentile(times, percent):.3f} s")
    print(f"memory        {memory} MiB, at every tenth of the time")
    used = [1e3 * used / len(times) for used in (server_seconds, own_seconds)]
    print(f"CPU           {used[0]:.1f} ms a request, clients {used[1]:.1f} ms")
    print(f"server        exit status {code}")


def draw(number: int, size: tuple[int, int]) -> bytes:
    """Return a phantom as a PNG file."""
    anatomy, visit = sample_anatomy(1, number), sample_visit(1, number, 0)
    return encode_png(render_phantom(anatomy, visit, size).image)


def measure_bare(models: Path, signature: str, phantoms: list[bytes], seconds: float):
    """Return the probabilities of every phantom, and images a second in batches."""
    function = load_signatures(find_formats(models)["saved_model"])[signature]
    batches = [phantoms[i : i + _BATCH] for i in range(0, len(phantoms), _BATCH)]
    found = [run_signature(function, image_bytes=batch) for batch in batches]
    start, done = time.perf_counter(), 0
    for batch in itertools.cycle(batches):
        run_signature(function, image_bytes=batch)
        done += len(batch)
        if time.perf_counter() - start > seconds:
            break
    rate = done / (time.perf_counter() - start)
    return np.concatenate([outputs["probabilities"] for outputs in found]), rate


def load(url, signature, phantoms, expected, clients: int, seconds: float):
    """Keep so many clients busy; return times, and counts of wrong and failed."""
    times, wrong, failed = [], [], []
    numbers = itertools.cycle(range(len(phantoms)))
    end = time.perf_counter() + seconds

    def work(client):
        while time.perf_counter() < end:
            number = next(numbers)
            start = time.perf_counter()
            try:
                answer = client.predict(phantoms[number], signature)
            except Exception as error:  # counted, whatever it is
                failed.append(number)
                print(f"failed: {error}", file=sys.stderr)
                continue
            times.append(time.perf_counter() - start)
            distances = np.abs(expected - list(answer.probabilities.values()))
            if distances.max(axis=1).argmin() != number:
                wrong.append(number)

    with (
        Client(url, retries=0, timeout=120) as client,
        ThreadPoolExecutor(clients) as threads,
    ):
        for task in [threads.submit(work, client) for _ in range(clients)]:
            task.result()
    return times, len(wrong), len(failed)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    tyro.cli(main)
