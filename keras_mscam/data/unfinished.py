"""A folder that work goes on in until it is whole and gets its name."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.errors import UserError

_PLAN = "plan.json"
_RESULT = "result"


@contextmanager
def unfinished_folder(output: Path, plan: dict) -> Iterator[tuple[Path, Path]]:
    """Give a place for work that may be broken off and gone on with.

    The place is the hidden folder `.NAME.unfinished` beside `output`. It outlives
    errors, Ctrl-C and `kill -9`; who comes with the same plan finds in it what was
    done. When the block succeeds, the result is renamed to `output` and the rest goes.

    Args:
        output: the folder to make; it may be there if it is empty.
        plan: what the work depends on, as JSON; other work must not go on with it.

    Yields:
        A folder for intermediate files, and an empty one for the result.

    Raises:
        UserError: `output` isn't empty, the place holds other work or is in use, or
            something can't be written.
    """
    output = Path(output)
    check_is_free(output)
    place = output.absolute().with_name(f".{output.absolute().name}.unfinished")
    result = place / _RESULT
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _lock(place):
            _check_plan(place, plan)
            shutil.rmtree(result, ignore_errors=True)
            result.mkdir()
            yield place, result
            result.replace(output)
            shutil.rmtree(place)
    except OSError as error:
        raise UserError(f"{output} can't be written: {error}") from error


def check_is_free(output: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        UserError: it does, or it is a file.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} already exists and isn't empty; choose another.")


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Hold a lock that the system takes back from a killed process."""
    with (place / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process is at work in {place}; wait for it or stop it."
            ) from error
        yield


def _check_plan(place: Path, plan: dict) -> None:
    path = place / _PLAN
    if path.exists() and path.read_text() != json.dumps(plan):
        raise UserError(
            f"{place} holds an unfinished preparation of other data, or with other "
            "options. Go on with the same ones, or remove that folder to start anew."
        )
    path.write_text(json.dumps(plan))
