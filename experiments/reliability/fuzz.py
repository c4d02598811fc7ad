"""Feed a reader files with random faults.

    python experiments/reliability/fuzz.py --reader dicom --count 100000

Each file is known by its number and the seed: `--first N --count 1 --save DIR` makes
one again. Everything is read in a process of its own, with 6 GB of memory, so that one
that dies is found. Ctrl-C ends it with the counts so far. The status is 1 if anything
but a result or a refusal in a sentence came of a file.
"""

import multiprocessing
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import tyro

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reliability.fuzzing import READERS, find_reader, make_file, try_files

_CHUNK = 5_000
_MEMORY = 6 * 2**30


def main(
    reader: Literal[READERS],
    count: int = 10_000,
    seed: int = 0,
    first: int = 0,
    save: Path | None = None,
) -> None:
    """Feed a reader.

    Args:
        reader: Which.
        count: How many files.
        seed: Of their faults.
        first: Number of the first one.
        save: Folder for files that something else came of, or for all of up to ten.
    """
    found = find_reader(reader)
    counts, faults, start = Counter(), {}, time.monotonic()
    try:
        at = first
        while at < first + count:
            end = min(at + _CHUNK, first + count)
            if found.forks:
                at = read_apart(found, seed, at, end, counts, faults)
            else:
                part, others = try_files(found, seed, range(at, end))
                counts.update(part)
                faults.update(others)
                at = end
            print(f"\r{at - first:,} files", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
    seconds = time.monotonic() - start
    said = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counts.items()))
    print(
        f"\n{reader}, seed {seed}: {counts.total():,} files in {seconds:.0f} s: {said}"
    )
    for number, what in list(faults.items())[:20]:
        print(f"  {number}: {what[:300]}")
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        for number in faults or range(first, first + min(count, 10)):
            (save / f"{reader}-{seed}-{number}").write_bytes(
                make_file(found, seed, number)
            )
    sys.exit(bool(faults))


def read_apart(found, seed, at, end, counts: Counter, faults: dict) -> int:
    """Read files in another process, and return the number of the next to read."""
    ours, theirs = multiprocessing.Pipe(False)
    done = multiprocessing.Value("q", at)
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(found, seed, at, end, done, theirs)
    )
    process.start()
    theirs.close()
    try:
        part, others = ours.recv()
    except EOFError:  # it died
        process.join()
        number = done.value
        faults[number] = f"its process ended with {process.exitcode}"
        counts["fault"] += 1
        counts["before one that died"] += number - at
        return number + 1
    finally:
        process.kill()
        process.join()
    counts.update(part)
    faults.update(others)
    return end


def _work(found, seed, at, end, done, pipe) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))

    def numbers():
        for number in range(at, end):
            done.value = number
            yield number

    pipe.send(try_files(found, seed, numbers()))


if __name__ == "__main__":
    tyro.cli(main)
