"""Signals that ask a training to stop."""

import signal
import threading
from collections.abc import Callable


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, but a command that it ends has exit status 143."""


#: Until a process that goes on in spite of a signal is ended again.
REMIND_SECONDS = 5.0


class StopSignals:
    """Ctrl-C and SIGTERM, which end the work at once or, while it `waits`, on a wish.

    In the middle of a step a network is neither before nor behind it, and couldn't be
    saved: training sets `waits`, and grants the wish when its step is over. Who doesn't
    want to wait sends a second signal. Within a `with`, in the main thread: Python has
    no signals elsewhere. A signal that the process was told to ignore, as by `nohup`,
    stays ignored.

    Args:
        share: returns the largest of the numbers that several hosts call it with, for
            all to stop at one step: a signal to one is then a wish of all.
    """

    def __init__(self, share: Callable[[int], int] = int):
        self.share = share
        self.noted = None
        #: What is noted here, or on any host, and they all know of.
        self.received = None
        self.waits = False

    def __enter__(self):
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._note)
            remind = signal.signal(signal.SIGALRM, lambda *_: self._end_now())
            self._handlers[signal.SIGALRM] = remind
        return self

    def __exit__(self, error, *_):
        if self.noted is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if error is None:
            self.agree()
            self.obey()

    def agree(self) -> None:
        """Receive what is noted on any host; all must call this at the same step."""
        self.received = self.share(self.noted or 0) or self.received

    def obey(self) -> None:
        """Raise what was wished for, if anything.

        Raises:
            KeyboardInterrupt: Ctrl-C; `Terminated` for SIGTERM.
        """
        if self.received is not None:
            raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt

    def _note(self, number, frame):
        again = self.noted is not None
        self.noted = number
        if again or not self.waits:
            self.received = number
            self._end_now()

    def _end_now(self) -> None:
        # Python drops what is raised while it collects garbage: then once more.
        signal.setitimer(signal.ITIMER_REAL, REMIND_SECONDS)
        self.obey()
