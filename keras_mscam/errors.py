"""What a user can get wrong, what a disk can, and how a command says so."""

import errno
import functools
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake that its user can mend: one sentence saying what, where, what to do."""


class DiskError(UserError):
    """A file can't be read or written, for a reason that lies with the disk.

    Args:
        what: a sentence on the file and the reason.
        then: one on how to go on when that is mended.
    """

    def __init__(self, what: str, then: str = ""):
        super().__init__(what, then)

    def __str__(self) -> str:
        return " ".join(filter(None, self.args))


#: What a disk may say, and what to do about it.
_REASONS = {
    errno.ENOSPC: "can't be written: the disk is full; make room",
    errno.EDQUOT: "can't be written: the quota of disk space is used up; make room",
    errno.EFBIG: "can't be written: it gets larger than `ulimit -f` allows; raise that",
    errno.EROFS: "can't be written: the disk is read-only; give another folder",
    errno.EACCES: "can't be used: permission is denied; change that, or give another",
    errno.EPERM: "can't be used: the system forbids it; change that, or give another",
    errno.ENAMETOOLONG: "can't be used: the name is too long; give a shorter one",
    errno.EEXIST: "can't be written: a file is where a folder should be; give another",
    errno.ENOTDIR: "can't be written: a file is where a folder should be; give another",
    errno.EISDIR: "can't be written: a folder is where a file should be; remove it",
    errno.ENOENT: "can't be used: it, or its folder, is not there; put it back",
    errno.EIO: "can't be used: the disk fails to read or write; check it",
    errno.ESTALE: "can't be used: the network drive has lost it; mount it again",
    errno.EMFILE: "can't be used: more files are open than `ulimit -n` allows",
}
#: By words that libraries in other languages quote, or have of their own.
_QUOTED = {os.strerror(code): reason for code, reason in _REASONS.items()}
_QUOTED |= {
    "iostream error": "can't be written: the disk may be full; make room",
    "surrogates not allowed": "can't be used: a name is no text in UTF-8; rename it",
    "converting unicode string": "can't be used: a name is no text in UTF-8; rename it",
}
#: Raised while something else was handled, these are what has to be seen.
_DEFECTS = (ImportError, LookupError, TypeError, NameError, AttributeError)


@contextmanager
def explain_disk(path: str | os.PathLike, then: str = "") -> Iterator[None]:
    """Turn whatever a library raises because of the disk into a `DiskError`.

    TensorFlow, HDF5 and others have exceptions of their own for it, in which the
    system's words are quoted. `path` is said where the system doesn't name a file;
    `then`, a sentence on how to go on when it is mended, takes the place of that of a
    `with` inside.
    """
    try:
        yield
    except DiskError as error:
        what, before = error.args
        raise DiskError(what, then or before) from error
    except UserError:
        raise
    except Exception as error:
        found = _find_reason(error)
        if found is None:
            raise
        name, reason = found
        # What is being written has a hidden name, which tells nobody anything.
        if not name or any(part.startswith(".") for part in Path(name).parts):
            name = path
        raise DiskError(f"{name} {reason}.", then) from error


def _find_reason(error: BaseException | None) -> tuple[str | None, str] | None:
    """Return the file that an exception, or one behind it, is about, and the reason."""
    while error is not None and not isinstance(error, _DEFECTS):
        if isinstance(error, OSError) and error.errno:
            if error.errno in _REASONS:
                named = isinstance(error.filename, str | os.PathLike)
                return error.filename if named else None, _REASONS[error.errno]
        else:
            text = str(error)
            for words, reason in _QUOTED.items():
                if words in text and "shared object" not in text:
                    # As TensorFlow says it: {{node}} folder/file; Permission denied
                    named = re.search(rf"([^{{}}:]+); {words}", text)
                    return named and named[1].strip(), reason
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context
    return None


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate the `main` of a command: a mistake ends in one line, not a traceback.

    A `UserError` is printed to standard error and the process exits with status 2;
    Ctrl-C exits with status 130, as shells expect, and so does 141, where who reads the
    output has enough of it. Every other exception is a defect of this package and keeps
    its traceback. A warning is one line too, without the source that it came from.
    A letter that the terminal lacks is shown by its number, and so is one that isn't
    to be seen: names out of files may hold what moves a terminal's cursor.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings(), explain_disk("The output"):
                warnings.showwarning = _Warnings()  # ty: ignore[invalid-assignment]
                main(*args, **kwargs)
                print(end="", flush=True)
        except UserError as error:
            print(f"error: {escape_unprintable(str(error))}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            sys.exit(128 + signal.SIGPIPE)
        finally:
            _close_output()

    return run


def escape_unprintable(text: str) -> str:
    """Return text as one printable line; what isn't printable becomes an escape.

    Example:
        >>> escape_unprintable("two\\nlines")
        'two\\\\nlines'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _close_output() -> None:
    """Leave nothing to print that can't be: Python would try again, and complain."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Warnings:
    """Show each sentence once: of several runs on one split, all say the same."""

    def __init__(self):
        self._said = set()

    def __call__(self, message, *_) -> None:
        if str(message) not in self._said:
            print(f"warning: {escape_unprintable(str(message))}", file=sys.stderr)
        self._said.add(str(message))
