"""Keeps Ctrl-C an interrupt, and not a segmentation fault, behind OpenVINO.

On processors with AMX, OpenVINO's CPU plugin gives its thread a stack for signals, and
each plugin puts back the stack that it found. Where two end in the order in which they
began, the thread is left with one whose memory is gone, and the next signal kills the
process. NNCF makes several.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """`stack_t` of `sigaltstack(2)` on Linux."""

    _fields_ = [
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    ]


@contextlib.contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Give the thread back the stack for signals that it had before."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
