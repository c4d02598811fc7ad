"""Start a server as users do, and watch it."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil


def start_server(
    models: Path, ports: dict[str, int], *options: str, log: Path | None = None
) -> subprocess.Popen:
    """Start `keras_mscam-serve` and wait until it is ready.

    Args:
        models: Model repository that keras_mscam-export made.
        ports: of "rest" and "grpc".
        options: others for the command.
        log: File for what it logs.
    """
    command = [
        sys.executable, "-m", "keras_mscam.cli.serve", str(models),
        "--rest-port", str(ports["rest"]), "--grpc-port", str(ports["grpc"]), *options,
    ]  # fmt: skip
    with open(log or "/dev/null", "w") as stderr:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    line = server.stdout.readline()
    if not line:
        sys.exit("The server did not start.")
    print(line.strip())
    threading.Thread(target=server.stdout.read, daemon=True).start()
    return server


class Watch:
    """Watches the memory of a process, ten times a second, and who uses the cores."""

    def __init__(self, pid: int):
        self.process = psutil.Process(pid)
        self.sizes, self.done = [], threading.Event()
        self.start = self._measure_cpu()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        try:
            while not self.done.wait(0.1):
                self.sizes.append(self.process.memory_info().rss >> 20)
        except psutil.NoSuchProcess:
            pass

    def _measure_cpu(self) -> np.ndarray:
        times = self.process.cpu_times()
        return np.array([times.user + times.system, time.process_time()])

    def stop(self) -> tuple[list[int], float, float]:
        """Return memory at every tenth of the time; seconds of the process, and own."""
        self.done.set()
        self.thread.join()
        places = np.linspace(0, len(self.sizes) - 1, 11).astype(int)
        used = self._measure_cpu() - self.start
        return [self.sizes[place] for place in places], *used.tolist()
