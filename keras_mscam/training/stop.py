"""Stopping a training from outside, where its state is whole."""

import signal
import threading


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, but a command that it ends has exit status 143."""


class StopSignals:
    """Ctrl-C and SIGTERM as a wish, which training grants when its step is over.

    In the middle of a step a network is neither before nor behind it, and couldn't be
    saved. Who doesn't want to wait sends a second signal. Within a `with`, in the main
    thread: Python has no signals elsewhere. A signal that the process was told to
    ignore, as by `nohup`, stays ignored.
    """

    def __init__(self):
        self.received = None

    def __enter__(self):
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, error, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if error is None:
            self.obey()

    def obey(self) -> None:
        """Raise what was wished for, if anything.

        Raises:
            KeyboardInterrupt: Ctrl-C; `Terminated` for SIGTERM.
        """
        if self.received is not None:
            raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt

    def _note(self, number, frame):
        self.obey()
        self.received = number
