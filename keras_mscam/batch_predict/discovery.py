"""Which files are meant: paths, folders, patterns."""

import functools
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keras_mscam.batch_predict.journal import is_folder_of_results
from keras_mscam.errors import UserError

#: What lies beside images in folders. Whatever has another name is tried.
_NO_IMAGES = (
    ".cfg .csv .css .doc .docx .gz .htm .html .ini .ipynb .js .json .jsonl .log .md "
    ".npy .npz .pdf .ppt .pptx .py .rst .rtf .sh .sha256 .md5 .sr .tar .tex .tfrecord "
    ".tgz .toml .tsv .txt .xls .xlsx .xml .yaml .yml .zip "
    # The viewer on a patient's CD, and what Windows puts beside pictures.
    ".bat .cmd .db .dll .exe .inf .jar .lnk .msi"
)
_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Found:
    """Files to read.

    Args:
        files: as they were given, those of a folder sorted; each once.
        passed_over: number of files that aren't tried, by kind: of those in folders
            that are no images by their name `"hidden"`, `"DICOMDIR"` or a suffix, and
            `"results"` in the folder of results, which a pattern may match.
    """

    files: list[str]
    passed_over: Counter = field(default_factory=Counter)


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
            the standard input, one a line.
        output: folder of results.
        stdin: lines of the standard input.

    Raises:
        UserError: nothing is given or found, or a pattern matches nothing.
    """
    found = Found([])
    seen = set()
    is_result = _find_results(output)
    for path in _expand(paths, stdin):
        for file in _walk(path, is_result, found.passed_over):
            if file in seen:
                continue
            seen.add(file)
            if is_result(file):
                found.passed_over["results"] += 1
            else:
                found.files.append(file)
    if not found.files:
        kinds = (f"{count} {kind}" for kind, count in (+found.passed_over).items())
        over = ", ".join(kinds)
        more = f" (passed over: {over})" if over else ""
        raise UserError(f"There is no image{more}: give files, folders or patterns.")
    return found


def _find_results(output: Path) -> Callable[[str], bool]:
    """Return what tells whether a path lies in the folder of results."""
    if not is_folder_of_results(output):  # to be refused, if there is something else
        return lambda path: False
    folder = os.path.realpath(output)

    @functools.lru_cache(maxsize=1024)  # files of a folder come one after the other
    def is_inside(parent: str) -> bool:
        try:
            parent = os.path.realpath(parent)
        except ValueError:  # a zero byte in the name
            return False
        return parent == folder or parent.startswith(os.path.join(folder, ""))

    return lambda path: is_inside(os.path.dirname(path))


def _expand(paths: Iterable[str | os.PathLike], stdin: Iterable[str]) -> Iterator[str]:
    for path in map(os.fspath, paths):
        if path == "-":
            lines = (line.rstrip("\r\n") for line in stdin)
            yield from (line for line in lines if line)
        elif _PATTERN.intersection(path) and not os.path.lexists(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise UserError(f"No file matches {path}; check the pattern.")
            yield from matches
        else:
            yield path


def _walk(
    path: str, is_result: Callable[[str], bool], passed_over: Counter
) -> Iterator[str]:
    """Give a file, or the files of a folder."""
    path = str(Path(path))  # without what doesn't tell files apart, as ./ and //
    if not os.path.isdir(path):
        yield path
        return
    entered, failed = set(), []
    for folder, folders, names in os.walk(path, True, failed.append, followlinks=True):
        status = os.stat(folder)
        # Links may lead round in circles.
        inside = os.path.join(folder, "")
        if (status.st_dev, status.st_ino) in entered or is_result(inside):
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        hidden = [name for name in folders if name.startswith(".")]
        passed_over["hidden"] += len(hidden)
        folders[:] = sorted(name for name in folders if name not in hidden)
        for name in sorted(names):
            kind = _find_kind(name)
            if kind:
                passed_over[kind] += 1
            else:
                yield str(Path(folder, name))
    yield from (error.filename for error in failed)


def _find_kind(name: str) -> str | None:
    """Return what a name tells a file in a folder to be, `None` for an image."""
    if name.startswith("."):
        return "hidden"
    if name.upper() == "DICOMDIR":
        return "DICOMDIR"
    suffix = os.path.splitext(name)[1].lower()
    return suffix if suffix in _NO_IMAGES.split() else None


def stamp(path: str) -> tuple[int, int] | None:
    """Return size and time of change, in ns, of a regular file, `None` for others.

    A file with the same stamp is taken to be the same file.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns


def explain_no_stamp(path: str) -> str:
    """Say why there is no `stamp`: half a sentence, to go on behind a colon."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, ValueError):
        is_link = "\0" not in path and os.path.islink(path)
        return "it is a link to no file" if is_link else "there is no such file"
    except OSError as error:
        return error.strerror
    if stat.S_ISDIR(mode):
        return "it is a folder that can't be listed"
    return "it is neither a file nor a folder"


# In bytes, of 255 that a file's name may have: others than Latin letters take two or
# three, and the name of a pathology and that of a half-written file are added.
_LONGEST = 100


class Names:
    """Names by which the files of images are called.

    The name is the file's, without its suffix; of several in different folders the
    second gets `-2`. So that a name stays with its file when others come later, those
    that are taken are told first.

    Example:
        >>> names = Names()
        >>> names.find("a/chest.png"), names.find("b/chest.dcm")
        ('chest', 'chest-2')
    """

    def __init__(self, taken: Iterable[str] = ()):
        # Some file systems don't tell upper from lower case.
        self._taken = {name.casefold() for name in taken}
        self._next: dict[str, int] = {}

    def find(self, path: str) -> str:
        """Return a name for a file, which is taken from then on."""
        stem = _clean(os.path.splitext(os.path.basename(path))[0])
        for name in self._count(stem):
            if name.casefold() not in self._taken:
                self._taken.add(name.casefold())
                return name
        raise AssertionError

    def _count(self, stem: str) -> Iterator[str]:
        key = stem.casefold()
        if key not in self._next:
            self._next[key] = 2
            yield stem
        while True:
            number = self._next[key]
            self._next[key] += 1
            yield f"{stem}-{number}"


def _clean(stem: str) -> str:
    """Return letters, digits and a few signs that are safe in any file name."""
    stem = re.sub(r"[^\w.-]+", "_", stem).encode()[:_LONGEST]
    return stem.decode(errors="ignore").strip("._") or "image"
