"""Malformed requests by the thousand: does the server stay up, and answer the others?

    pip install psutil
    python experiments/serving/hostile.py EXPORT --requests 100000

Starts `keras_mscam-serve` on an export and sends it, over REST and gRPC and several
connections at once, what `malformed/mix.py` lists. Valid images come in between, and in
one batch with malformed ones; their answers must equal the first ones. Ends with
status 1 if the server dies or says that it is at fault, if a request gets no answer in
time, an error has no sentence, a valid image gets another answer, or memory grows by
more than `--growth` MiB after the first three tenths of the requests.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import psutil
import tyro
from load import draw
from malformed.checks import Checker
from malformed.files import ask
from malformed.images import encode
from malformed.mix import KINDS, make_request
from malformed.requests import Material
from malformed.sending import Answer, Sender
from server import Watch, start_server

_PORTS = {"rest": 8611, "grpc": 8610}
#: Until then each of the rare large requests came at each signature.
_WARM_UP = 0.3
_SHOWN = 30


def main(
    models: tyro.conf.Positional[Path],
    requests: int = 100_000,
    first: int = 0,
    seed: int = 0,
    connections: int = 16,
    growth: int = 200,
    log: Path | None = None,
) -> None:
    """Send malformed requests.

    Args:
        models: Model repository that keras_mscam-export made.
        requests: How many.
        first: Number of the first one, to repeat some.
        seed: Of all of them.
        connections: At once, to each port; stalled ones come on top.
        growth: MiB by which memory may grow after the warm-up.
        log: File for what the server logs.
    """
    material = make_material(models)
    server = start_server(models, _PORTS, log=log)
    watch, start = Watch(server.pid), time.perf_counter()
    run = Run(material, seed, server.pid)
    try:
        asyncio.run(run.send_all(range(first, first + requests), connections))
        seconds = time.perf_counter() - start
        time.sleep(2)
        memory = [run.warm, measure(server.pid), max(watch.sizes)]
        died = server.poll() is not None
        watch.stop()
    finally:
        server.terminate()
        code = server.wait(90)
    failures = list(run.failures)
    if died or code:
        failures.append(f"the server died or ended with status {code}")
    if memory[1] > memory[0] + growth:
        failures.append(f"memory grew from {memory[0]} to {memory[1]} MiB")
    print_table(run.counts)
    print(f"requests      {sum(run.counts.values())}, {len(failures)} failures")
    print(f"valid images  {run.checker.valid}, all compared with the first answers")
    print(f"rate          {sum(run.counts.values()) / seconds:.1f}/s, {seconds:.0f} s")
    print(
        f"memory        {memory[0]} MiB after {_WARM_UP:.0%} of the requests, "
        f"{memory[1]} at the end, {memory[2]} at most"
    )
    print(f"server        exit status {code}")
    for failure in failures[:_SHOWN]:
        print(f"FAILED: {failure}")
    sys.exit(bool(failures))


def make_material(models: Path) -> Material:
    """Return sound images, as PNG and JPEG, grey and not."""
    rng, name = Random(0), next(p.name for p in models.iterdir() if p.is_dir())
    return Material(
        name,
        (
            draw(0, (192, 192)),
            encode(rng, "L", (300, 200), format="JPEG"),
            encode(rng, "RGB", (90, 120), format="PNG"),
            encode(rng, "RGB", (250, 250), format="JPEG", progressive=True),
        ),
    )


def measure(pid: int) -> int:
    """Return memory in MiB."""
    return psutil.Process(pid).memory_info().rss >> 20


class Run:
    """Sends requests from several connections and judges the answers."""

    def __init__(self, material: Material, seed: int, pid: int):
        self.material, self.seed, self.pid = material, seed, pid
        self.checker, self.counts, self.failures = Checker(), Counter(), []
        self.warm, self.done = 0, 0

    async def send_all(self, numbers: range, connections: int) -> None:
        """Send all requests."""
        await self._learn()
        queue = iter(numbers)
        self.warm_at = max(int(_WARM_UP * len(numbers)), 1)
        self.stalled: set[asyncio.Task] = set()
        await asyncio.gather(*[self._work(queue) for _ in range(connections)])
        await asyncio.gather(*self.stalled)

    async def _learn(self) -> None:
        """Ask for each image alone, by every signature, as long as it is quiet."""
        sender = Sender(_PORTS)
        for signature in sorted(set(self.material.signatures)):
            for number, file in enumerate(self.material.images):
                for half in (0.0, 0.9):  # REST, gRPC
                    request = ask(
                        _Fixed(half), self.material, [file], [number], signature
                    )
                    await self._judge(-1, "valid image", request, sender)
        await sender.close()

    async def _work(self, queue) -> None:
        sender = Sender(_PORTS)
        for number in queue:
            kind, request = make_request(self.seed, number, self.material)
            if kind.endswith("stalled"):
                while len(self.stalled) > 100:
                    await asyncio.sleep(0.1)
                task = asyncio.create_task(self._stall(number, kind, request))
                self.stalled.add(task)
                task.add_done_callback(self.stalled.discard)
            else:
                await self._judge(number, kind, request, sender)
        await sender.close()

    async def _stall(self, number: int, kind: str, request) -> None:
        sender = Sender(_PORTS)
        await self._judge(number, kind, request, sender)
        await sender.close()

    async def _judge(self, number: int, kind: str, request, sender: Sender) -> None:
        start = time.perf_counter()
        try:
            answer = await sender.send(request)
        except OSError as error:
            answer = Answer("no answer", str(error).encode())
        status, wrong = self.checker.check(request, answer)
        if kind.startswith(("valid", "batch")) and not status.startswith(("200", "OK")):
            wrong = wrong or f"a valid image was refused: {answer.content[:200]!r}"
        seconds = time.perf_counter() - start
        if wrong:
            failure = f"request {number}, {kind}, {status}, {seconds:.1f} s: {wrong}"
            self.failures.append(failure)
            print(failure, file=sys.stderr, flush=True)
        if number >= 0:
            self.counts[kind, request.protocol, status] += 1
            self.done += 1
            if self.done == self.warm_at:
                self.warm = measure(self.pid)
            if self.done % 5000 == 0:
                print(f"{self.done}: {measure(self.pid)} MiB", file=sys.stderr)


class _Fixed:
    """A random number that is known."""

    def __init__(self, value: float):
        self.value = value

    def random(self) -> float:
        return self.value


def print_table(counts: Counter) -> None:
    """Print how often each kind got each status."""
    for protocol in ("REST", "gRPC"):
        mine = {key: n for key, n in counts.items() if key[1] == protocol}
        statuses = sorted({status for _, _, status in mine})
        print(
            "| kind | "
            + " | ".join(statuses)
            + " |\n"
            + "| --- " * (1 + len(statuses))
            + "|"
        )
        for kind in KINDS:
            row = [mine.get((kind, protocol, status), 0) for status in statuses]
            if any(row):
                print(f"| {kind} | " + " | ".join(str(n or "") for n in row) + " |")
        print()


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    tyro.cli(main)
