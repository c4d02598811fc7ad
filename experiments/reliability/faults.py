"""Break trainings in every way, and compare what they end with.

    python experiments/reliability/faults.py faults

Runs on 120 small synthetic radiographs, with `--deterministic`, a checkpoint after
every step, and everything on that has a state of its own: augmentation, a cosine
schedule, statistics of batch normalization. Needs Linux; the full disk needs root, for
a small file system of its own. Results go to `OUTPUT/faults.json`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Literal

from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import load_run

import numpy as np
import tyro

_EPOCHS = 24
_STEPS = 10  # an epoch, of 8 images
_OPTIONS = (
    "--preset planted --phantoms 120 --image-size 64 96 --blocks 1 2 --batch-size 8 "
    f"--batch-norm-images 32 --epochs {_EPOCHS} --deterministic --checkpoint-steps 1"
).split()  # fmt: skip
_PATIENCE = 600  # seconds until something that doesn't happen is an error

#: What a run is doing as soon as a file is there, in the order in which they appear.
_PHASES = {
    "drawing": ".phantom*/images/*",
    "preparing": ".records.unfinished",
    "building and tracing": "beta.csv",
    "training": "checkpoints/epoch-000-step-000004.npz",
    "validating": f"checkpoints/epoch-001-step-{_STEPS:06d}.npz",
    "between epochs": "checkpoints/epoch-003.npz",
    "calibrating": f"checkpoints/epoch-{_EPOCHS:03d}.npz",
    "evaluating": "calibration.json",
    "reporting": "metrics.json",
}

#: From a checkpoint's bytes to damaged ones; `None` leaves an empty folder.
_DAMAGES = {
    "empty": lambda whole: b"",
    "truncated in the middle": lambda whole: whole[: len(whole) // 2],
    "last byte lost": lambda whole: whole[:-1],
    "all zeros": lambda whole: bytes(len(whole)),
    "last block zeros": lambda whole: whole[:-4096] + bytes(4096),
    "a bit flipped": lambda whole: _flip(whole, len(whole) // 2),
    "an empty folder": lambda whole: None,
}


def main(
    output: tyro.conf.Positional[Path],
    parts: tuple[Literal["same", "kill", "signals", "damage", "disk"], ...] = (
        "same", "kill", "signals", "damage", "disk",
    ),
    kills: int = 20,
    seed: int = 0,
) -> None:  # fmt: skip
    """Break trainings.

    Args:
        output: Folder to make.
        parts: What to do.
        kills: Number of kill -9, at moments drawn with the seed.
        seed: Of those moments.
    """
    output.mkdir(parents=True)
    whole, seconds = _finish(output / "whole")
    results = {}

    def note(name, value):
        results[name] = value
        (output / "faults.json").write_text(json.dumps(results, indent=2) + "\n")
        print(name, json.dumps(value), flush=True)

    note("seconds of a whole run", round(seconds))
    if "same" in parts:
        again, _ = _finish(output / "again")
        note("same seed again", _compare(whole, again))
    if "kill" in parts:
        rng = np.random.default_rng(seed)
        killed, phases = _kill(output / "killed", kills, rng)
        note("kill -9", {"while": phases, "end": _compare(whole, killed)})
    if "signals" in parts:
        note("SIGTERM", _terminate(output / "terminated", whole))
    if "damage" in parts:
        stopped = _stop_at(output / "stopped", f"checkpoints/epoch-{_EPOCHS - 2:03d}*")
        for damage, change in _DAMAGES.items():
            note(f"damaged: {damage}", _damage(stopped, damage, change, whole))
    if "disk" in parts:
        note("full disk", _fill(output / "full", whole))


def _start(run: Path) -> subprocess.Popen:
    """Begin a run, or go on with it."""
    begun = (run / "config.json").exists()
    arguments = ["--output", str(run), *(["--resume"] if begun else _OPTIONS)]
    with run.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "keras_mscam.cli.train", *arguments], stderr=log
        )


def _finish(run: Path) -> tuple[Path, float]:
    start = time.monotonic()
    if _start(run).wait(_PATIENCE):
        sys.exit(f"{run} failed; {run.with_suffix('.log')} says why.")
    return run, time.monotonic() - start


def _wait(process: subprocess.Popen, run: Path, is_there) -> bool:
    """Wait until something is there; `False` where the process ended before."""
    deadline = time.monotonic() + _PATIENCE
    while not is_there():
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            sys.exit(f"{run}: nothing happened.")
        time.sleep(0.005)
    return True


def _kill(run: Path, kills: int, rng) -> tuple[Path, dict[str, int]]:
    """Kill at any moment since the start, one time in five; else since it trains."""
    phases = Counter()
    for number in range(kills):
        process = _start(run)
        if number % 5:
            before = _newest(run)
            if not _wait(process, run, lambda before=before: _newest(run) != before):
                break
            time.sleep(rng.uniform(0, 3))
        else:
            time.sleep(rng.uniform(0, 15))
        process.kill()
        if process.wait() == 0:
            break
        phases[_find_phase(run, process.pid)] += 1
    run, _ = _finish(run)
    return run, dict(phases)


def _newest(run: Path) -> str:
    return max((p.name for p in run.glob("checkpoints/epoch-*")), default="")


def _find_phase(run: Path, pid: int) -> str:
    """Say from what a process left what it was doing."""
    if not (run / "records" / "manifest.json").exists():
        return "before its records were ready"
    if any(run.glob(f"checkpoints/.*.{pid}.npz")):
        return "writing a checkpoint"
    if any(run.glob(f".*.{pid}.*")):
        return "writing results"
    steps = re.search(r"step-(\d+)", _newest(run))
    if steps is None:
        return "between epochs, or starting there"
    return "validating" if int(steps[1]) == _STEPS else "training, or starting there"


def _terminate(run: Path, whole: Path) -> dict:
    """Send SIGTERM in every phase, each time going on."""
    results = {}
    for phase, pattern in _PHASES.items():
        process = _start(run)
        if not _wait(process, run, lambda p=pattern: any(run.glob(p))):
            sys.exit(f"{run} ended before {phase}.")
        time.sleep(2 if phase == "building and tracing" else 0.05)
        start = time.monotonic()
        process.terminate()
        status = process.wait(_PATIENCE)
        results[phase] = {
            "status": status,
            "seconds": round(time.monotonic() - start, 2),
            "said": _read_last_line(run),
        }
    run, _ = _finish(run)
    return {**results, "end": _compare(whole, run)}


def _stop_at(run: Path, pattern: str) -> Path:
    process = _start(run)
    _wait(process, run, lambda: any(run.glob(pattern)))
    process.terminate()
    process.wait(_PATIENCE)
    return run


def _damage(stopped: Path, damage: str, change, whole: Path) -> dict:
    run = stopped.with_name(f"damaged-{damage.replace(' ', '-')}")
    shutil.copytree(stopped, run)
    path = run / "checkpoints" / _newest(run)
    content = change(path.read_bytes())
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    run, _ = _finish(run)
    log = run.with_suffix(".log").read_text()
    said = [line for line in log.splitlines() if "is damaged" in line]
    return {"said": said, "end": _compare(whole, run)}


def _fill(run: Path, whole: Path) -> dict:
    """Run out of space while checkpoints are written, then go on with more of it."""
    if os.geteuid():
        return {"skipped": "not root"}
    run.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, "size=3m", "none", str(run)], check=True)
    try:
        attempts = []
        for size in range(3, 100):
            subprocess.run(
                [*mount, f"remount,size={size}m", "none", str(run)], check=True
            )
            status = _start(run).wait(_PATIENCE)
            attempts.append([size, status, status and _read_last_line(run)])
            if status == 0:
                break
        return {"attempts": attempts, "end": _compare(whole, run)}
    finally:
        subprocess.run(["umount", str(run)], check=True)


def _flip(whole: bytes, position: int) -> bytes:
    return whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]


def _read_last_line(run: Path) -> str:
    return run.with_suffix(".log").read_text().splitlines()[-1]


def _compare(one: Path, other: Path) -> str:
    """Say what differs: variables, best model, history, metrics."""
    found = []
    checkpoint = f"checkpoints/epoch-{_EPOCHS:03d}.npz"
    with np.load(one / checkpoint) as a, np.load(other / checkpoint) as b:
        if any(not np.array_equal(a[name], b[name]) for name in a.files):
            found.append("last network, optimizer or state")
    models = [load_classifier(load_run(run)) for run in (one, other)]
    pairs = zip(*(model.get_weights() for model in models), strict=True)
    if any(not np.array_equal(a, b) for a, b in pairs):
        found.append("best network")
    for name in ("history.csv", "relevance_weights.csv"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            found.append(name)
    metrics = [json.loads((run / "metrics.json").read_bytes()) for run in (one, other)]
    if metrics[0] | {"records": None} != metrics[1] | {"records": None}:
        found.append("metrics.json")
    return f"differ: {', '.join(found)}" if found else "equal, bit by bit"


if __name__ == "__main__":
    tyro.cli(main)
