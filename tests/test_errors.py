import ctypes
import errno
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from keras_mscam.errors import UserError, command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("a.png is empty."), 2, "error: a.png is empty.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(capsys, error, status, message):
    @command
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == status
    assert capsys.readouterr().err == message


def test_names_do_not_move_the_cursor(capsys):
    @command
    def main():
        warnings.warn("\x1b[2Jgone.png is \u80ba.", stacklevel=1)
        raise UserError("a\nerror: b\x07.png\u202e is empty.")

    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == (
        "warning: \\x1b[2Jgone.png is \u80ba.\n"
        "error: a\\nerror: b\\x07.png\\u202e is empty.\n"
    )


def test_a_defect_keeps_its_traceback():
    @command
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def miss_a_library():
    raise ImportError("libcudart.so.12: cannot open shared object file: No such file")


def load_a_library():
    ctypes.CDLL("/nowhere.so")


def fail_behind_a_file():
    try:
        Path("/nowhere").read_bytes()
    except FileNotFoundError:
        return {}["a defect"]


def hide_a_file():
    try:
        Path("/nowhere").read_bytes()
    except FileNotFoundError:
        raise ZeroDivisionError from None


@pytest.mark.parametrize(
    ("work", "error"),
    [(miss_a_library, ImportError), (load_a_library, OSError),
     (fail_behind_a_file, KeyError), (hide_a_file, ZeroDivisionError)],
)  # fmt: skip
def test_a_defect_is_no_fault_of_the_disk(work, error):
    with pytest.raises(error):
        command(work)()


def test_a_full_disk_is_one_line(tmp_path, capsys):
    @command
    def main():
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "error: report.html can't be written: the disk is full; make room.\n"
    )


PRINT = r"""
from keras_mscam.errors import command
command(lambda: print("\u80ba \udcff " * 100_000))()
"""


def run_python(code, stdout, **environment):
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE,
        env=os.environ | environment,
    )  # fmt: skip
    return process.returncode, process.stderr.decode(), process.stdout


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "\u80ba"), ("latin-1", "\\u80ba")]
)
def test_a_letter_that_the_terminal_lacks_is_a_number(encoding, shown):
    result = run_python(PRINT, subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert result[:2] == (0, "")
    assert result[2].decode(encoding).startswith(f"{shown} \\udcff {shown}")


def test_an_output_that_is_full():
    with open("/dev/full", "wb") as full:
        status, errors, _ = run_python(PRINT, full)
    assert status == 2
    assert (
        errors == "error: The output can't be written: the disk is full; make room.\n"
    )


def test_a_reader_that_has_enough():
    """As in `keras_mscam-predict ... | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    assert run_python(PRINT, writing)[:2] == (128 + signal.SIGPIPE, "")
    os.close(writing)


def test_a_warning_is_one_line_once(capsys):
    @command
    def main():
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn("Hernia is undefined.", UserWarning, stacklevel=1)

    shown = warnings.showwarning
    main()
    assert capsys.readouterr().err == "warning: Hernia is undefined.\n"
    assert warnings.showwarning is shown
