"""Names of the files of an image: its own, made different where two are alike."""

import os
import re
from collections.abc import Iterable, Iterator

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
