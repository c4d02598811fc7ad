"""`predictions.jsonl`: one line per file, appended as they are done."""

import json
import mmap
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.errors import UserError, explain_disk
from keras_mscam.files import hold_lock, read_json, write_json, write_whole

FILE = "predictions.jsonl"
#: In every plan: by this a folder of results is known.
VERSION = "version of keras_mscam"
_PLAN = "plan.json"
_LOCK = ".lock"
#: All that is ever made in a folder of results.
_FOLDERS = ("overlays", "maps", "reports", "thumbnails", "dicom")
_TABLES = (FILE, "predictions.csv", "predictions.coco.json")
_FILES = (*_TABLES, "index*.html", _PLAN)  # the last tells the rest
_HALF = re.compile(r"\..+\.\d+\.\w+")
_SYNC_EVERY = 2.0  # seconds


class Journal:
    """Results that are safe from `kill -9`: each is one line, whole or not there.

    A line that was being written is cut off when the folder is opened again. After a
    power failure the last two seconds may be missing.

    Args:
        folder: of results, see `open_folder`.
    """

    def __init__(self, folder: Path):
        self._file = (folder / FILE).open("ab", buffering=0)
        self._synced = time.monotonic()

    def append(self, line: str) -> None:
        """Add a result, as JSON without line breaks."""
        data, end = line.encode() + b"\n", self._file.tell()
        try:
            while data:  # a full disk or a signal may take a part
                data = data[self._file.write(data) :]
        except BaseException:
            self._file.truncate(end)
            raise
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self._sync()

    def close(self) -> None:
        """Make the last lines safe from a power failure too."""
        self._sync()
        self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def read_lines(folder: Path, pathologies: Iterable[str] = ()) -> Iterator[dict]:
    """Give the results of a folder, one by one.

    Args:
        folder: of results.
        pathologies: without a probability of each of these, a line is damaged.

    Raises:
        UserError: a line is damaged, as power failures and editors may leave it.
    """
    with (folder / FILE).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                result = json.loads(line)
            except (ValueError, RecursionError):
                result = None
            if result is None or not _is_result(result, pathologies):
                raise UserError(
                    f"Line {number} of {folder / FILE} is damaged; remove it, and its "
                    "file will be done again."
                )
            yield result


#: What a line has of an image that was read, see `outputs.describe_prediction`.
_OF_READ = {
    "name": str, "stamp": list, "positives": list, "probabilities": dict,
    "boxes": list, "warnings": list, "original_size": list, "files": dict,
}  # fmt: skip
_OF_REFUSED = {"stamp": list | None, "error": str}


def _is_result(result: object, pathologies: Iterable[str]) -> bool:
    """Whether a line has all that is asked of it later."""
    if not isinstance(result, dict) or result.get("status") not in ("read", "refused"):
        return False
    is_read = result["status"] == "read"
    types = {"path": str} | (_OF_READ if is_read else _OF_REFUSED)
    if not all(isinstance(result.get(name), kind) for name, kind in types.items()):
        return False
    return not is_read or (
        all(isinstance(p, float | int) and 0 <= p <= 1
            for p in result["probabilities"].values())
        and all(name in result["probabilities"]
            for name in (*result["positives"], *pathologies))
        and all(isinstance(said, str) for said in result["warnings"])
        and len(result["original_size"]) == 2
        and all(_is_box(box) and box["pathology"] in result["probabilities"]
            for box in result["boxes"])
    )  # fmt: skip


def _is_box(box: object) -> bool:
    if not isinstance(box, dict) or not isinstance(box.get("pathology"), str):
        return False
    xyxy = box.get("xyxy")
    numbers = [*xyxy, box.get("score")] if isinstance(xyxy, list) else []
    return len(numbers) == 5 and all(isinstance(n, float | int) for n in numbers)


def remove_pictures(folder: Path, result: dict) -> None:
    """Remove the files that were made of an image, and none that lies elsewhere.

    Raises:
        UserError: a name leads out of the folder of results: somebody has edited it.
    """
    for names in result.get("files", {}).values():
        names = names.values() if isinstance(names, dict) else names
        for name in [names] if isinstance(names, str) else names:
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UserError(
                    f"{folder / FILE} names {path} as its own, which lies elsewhere; "
                    "give another --output."
                )
            path.unlink(missing_ok=True)


def drop_lines(folder: Path, paths: set[str]) -> None:
    """Take the results of some files out."""
    path = folder / FILE
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for result in read_lines(folder):
            if result["path"] not in paths:
                file.write(json.dumps(result) + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def open_folder(output: Path, plan: dict, overwrite: bool = False) -> Iterator[None]:
    """Hold a folder of results, new or of the same plan.

    Args:
        output: the folder.
        plan: what results depend on, by name, as JSON, among it `VERSION`. What an
            earlier plan lacks is added.
        overwrite: whether to remove results of another plan.

    Raises:
        UserError: it holds something else, other results, or is in use.
        DiskError: it can't be written.
    """
    with explain_disk(output, "Then the same command goes on."):
        output.mkdir(parents=True, exist_ok=True)
        _check_is_ours(output)
        with hold_lock(output / _LOCK, f"writing into {output}"):
            if overwrite and _find_other(output / _PLAN, plan):
                _remove(output)
            _check_plan(output / _PLAN, plan)
            _remove_halves(output)
            if (output / FILE).exists() and not (output / FILE).is_file():
                raise UserError(f"{output / FILE} is no file; remove it.")
            (output / FILE).touch()
            _cut_torn_line(output / FILE)
            yield
            _remove_halves(output)  # of processes and nodes that were lost


def is_folder_of_results(folder: Path) -> bool:
    """Whether a folder was begun by `open_folder`."""
    return VERSION in _read_plan(folder / _PLAN)


def _check_is_ours(output: Path) -> None:
    """Refuse a folder of something else, of which `overwrite` would remove parts."""
    # Without a plan yet, there is at most what another process has just begun.
    begun = (name == _LOCK or _HALF.fullmatch(name) for name in os.listdir(output))
    if not is_folder_of_results(output) and not all(begun):
        raise UserError(f"{output} holds something else already; choose another.")


def _read_plan(path: Path) -> dict:
    """Return the plan of a folder; `{}` if there is none, or no plan in a file."""
    try:
        plan = read_json(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
        return {}
    return plan if isinstance(plan, dict) else {}


def _check_plan(path: Path, plan: dict) -> None:
    if other := _find_other(path, plan):
        raise UserError(
            f"{path.parent} holds results made with a different "
            f"{' and a different '.join(other)}; "
            "give another --output, or --overwrite to replace them."
        )
    write_json(path, _read_plan(path) | plan)


def _find_other(path: Path, plan: dict) -> list[str]:
    """Return what an earlier plan has otherwise."""
    plan, before = json.loads(json.dumps(plan)), _read_plan(path)
    return [name for name in plan if before.get(name, plan[name]) != plan[name]]


def _remove(output: Path) -> None:
    for name in _FOLDERS:
        if (output / name).is_dir():
            shutil.rmtree(output / name)
    for pattern in _FILES:
        for path in output.glob(pattern):
            path.unlink()


def _remove_halves(output: Path) -> None:
    """Remove what a killed process was writing, see `write_whole`."""
    for folder in (output, *(output / name for name in _FOLDERS)):
        if folder.is_dir():
            for entry in os.scandir(folder):
                if _HALF.fullmatch(entry.name):
                    Path(entry.path).unlink(missing_ok=True)


def _cut_torn_line(path: Path) -> None:
    if not path.stat().st_size:  # of which there can be no map
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines,
    ):
        end = lines.rfind(b"\n") + 1
    os.truncate(path, end)
