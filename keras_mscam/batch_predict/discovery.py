"""Which files are meant: paths, folders, patterns."""

import codecs
import functools
import glob
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from keras_mscam.batch_predict.journal import is_folder_of_results
from keras_mscam.errors import UserError
from keras_mscam.files import walk_once

#: What lies beside images in folders. Whatever has another name is tried.
_NO_IMAGES = (
    ".cfg .csv .css .doc .docx .gz .htm .html .ini .ipynb .js .json .jsonl .log .md "
    ".npy .npz .pdf .ppt .pptx .py .rst .rtf .sh .sha256 .md5 .sr .tar .tex .tfrecord "
    ".tgz .toml .tsv .txt .xls .xlsx .xml .yaml .yml .zip "
    # The viewer on a patient's CD, and what Windows puts beside pictures.
    ".bat .cmd .db .dll .exe .inf .jar .lnk .msi"
)


class Found(NamedTuple):
    """Files to read, each once, and the number of those that aren't tried, by kind.

    The kind is `"hidden"`, `"DICOMDIR"` or a suffix for files in folders whose names
    say that they are no images, `"results"` for those in the folder of results, and
    `"folder of results"`, counted as one, for another one that lies in a folder.
    """

    files: list[str]
    passed_over: Counter


def find_files(
    paths: Iterable[str | os.PathLike], output: Path, stdin: Iterable[str] = ()
) -> Found:
    """Find the files that are meant.

    A folder means all files in it and in folders under it, in the order of their
    names, but for those whose names say that they are no images: hidden ones, tables
    and texts, `DICOMDIR`. What is given by its own name is never passed over, even if
    there is no such file: it will be refused by name, as will be a folder that can't be
    listed. Pictures in the folder of results are no X-rays, wherever they are named.

    Args:
        paths: files, folders, patterns with `*`, `**`, `?` or `[]`; `-` for those on
            the standard input, one per line.
        output: folder of results.
        stdin: lines of the standard input.

    Raises:
        UserError: nothing is given or found, or a pattern matches nothing.
    """
    files, passed_over = {}, Counter()  # a dict is a set that keeps the order
    is_result = _find_results(output)
    for path in _expand(paths, stdin):
        for file in _walk(path, is_result, passed_over):
            files.setdefault(file, is_result(os.path.dirname(file)))
    found = [file for file, is_result in files.items() if not is_result]
    if len(found) < len(files):
        passed_over["results"] = len(files) - len(found)
    if not found:
        over = ", ".join(f"{count} {kind}" for kind, count in (+passed_over).items())
        more = f" (passed over: {over})" if over else ""
        raise UserError(f"There is no image{more}: give files, folders or patterns.")
    return Found(found, passed_over)


def read_stdin() -> Iterator[str]:
    """Give the lines of the standard input, as Python has names that are no text.

    A byte-order mark, as of lists that were written under Windows, is no part of them.
    """
    data = sys.stdin.buffer.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", errors="replace")
    else:
        text = os.fsdecode(data.removeprefix(codecs.BOM_UTF8))
    yield from text.split("\n")


def _find_results(output: Path) -> Callable[[str], bool]:
    """Return what tells whether a folder is that of results, or lies in it."""
    if not is_folder_of_results(output):  # to be refused, if there is something else
        return lambda folder: False
    results = os.path.realpath(output)

    @functools.lru_cache(maxsize=1024)  # files of a folder come one after the other
    def is_inside(folder: str) -> bool:
        try:
            return Path(os.path.realpath(folder)).is_relative_to(results)
        except ValueError:  # a zero byte in the name
            return False

    return is_inside


def _expand(paths: Iterable[str | os.PathLike], stdin: Iterable[str]) -> Iterator[str]:
    for path in paths:
        path = os.fspath(path)
        if path == "-":
            yield from filter(None, (line.rstrip("\r\n") for line in stdin))
        elif glob.has_magic(path) and not os.path.lexists(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise UserError(f"No file matches {path}; check the pattern.")
            yield from matches
        else:
            yield path


def _walk(
    path: str, is_result: Callable[[str], bool], passed_over: Counter
) -> Iterator[str]:
    """Give a file, or the files of a folder, but for pictures that this has drawn."""
    path = str(Path(path))  # without what doesn't tell files apart, as ./ and //
    if not os.path.isdir(path):
        yield path
        return
    failed: list[OSError] = []
    for folder, folders, names in walk_once([path], failed.append):
        if is_result(folder):
            folders.clear()
            continue
        if folder != path and _holds_results(folder):
            passed_over["folder of results"] += 1
            folders.clear()
            continue
        shown = sorted(name for name in folders if not name.startswith("."))
        passed_over["hidden"] += len(folders) - len(shown)
        folders[:] = shown
        for name in sorted(names):
            kind = _find_kind(name)
            if kind:
                passed_over[kind] += 1
            else:
                yield str(Path(folder, name))
    yield from (error.filename for error in failed)


def _holds_results(folder: str) -> bool:
    with suppress(OSError):  # a file that can't be read is no plan
        return is_folder_of_results(Path(folder))
    return False


def _find_kind(name: str) -> str | None:
    """Return what a name tells a file in a folder to be, `None` for an image."""
    if name.startswith("."):
        return "hidden"
    if name.upper() == "DICOMDIR":
        return "DICOMDIR"
    suffix = os.path.splitext(name)[1].lower()
    return suffix if suffix in _NO_IMAGES.split() else None
