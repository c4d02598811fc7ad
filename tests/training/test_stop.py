"""Signals that ask a training to stop."""

import gc
import signal
import threading
import time

import pytest

from keras_mscam.training import stop
from keras_mscam.training.stop import StopSignals, Terminated

NUMBERS = signal.SIGINT, signal.SIGTERM, signal.SIGALRM


@pytest.fixture(autouse=True)
def handlers():
    before = [signal.getsignal(number) for number in NUMBERS]
    yield before
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)],
)
def test_a_signal_waits_until_it_is_obeyed(number, error):
    with pytest.raises(error) as raised, StopSignals() as signals:
        signals.obey()  # nothing to obey
        signals.waits = True
        signal.raise_signal(number)
        signals.agree()
        assert signals.received == number
        signals.obey()
    assert raised.type is error


def test_a_signal_is_obeyed_at_once_where_nothing_waits():
    with pytest.raises(Terminated), StopSignals():
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal waited")


def test_a_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        signals.waits = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal waited")


def test_a_wish_at_the_very_end_is_granted():
    with pytest.raises(Terminated), StopSignals() as signals:
        signals.waits = True
        signal.raise_signal(signal.SIGTERM)


def test_an_error_goes_before_a_wish():
    with pytest.raises(ValueError), StopSignals() as signals:
        signals.waits = True
        signal.raise_signal(signal.SIGINT)
        raise ValueError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_amid_the_collection_of_garbage_is_not_lost(monkeypatch):
    """Whatever is raised there is dropped, and JAX has a function called there."""
    monkeypatch.setattr(stop, "REMIND_SECONDS", 0.1)

    def receive(phase, _):
        if phase == "start":
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Terminated), StopSignals():
        gc.callbacks.append(receive)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(receive)
        time.sleep(10)
        pytest.fail("the signal was lost")


def test_waiting_is_for_the_inner_part():
    with pytest.raises(Terminated), StopSignals():
        with StopSignals() as signals:
            signals.waits = True
            signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal was forgotten")


def test_an_ignored_signal_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGINT, handlers[0])


def test_in_another_thread_nothing_is_done(handlers):
    def look():
        with StopSignals():
            found.extend(signal.getsignal(number) for number in NUMBERS)

    found = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == handlers


def test_a_signal_to_another_host_is_received():
    noted = []

    def share(number):  # the other host has a SIGTERM
        noted.append(number)
        return max(number, signal.SIGTERM)

    with pytest.raises(Terminated), StopSignals(share) as signals:
        signals.waits = True
        signals.agree()
        signals.obey()
    assert noted == [0]


def test_a_signal_is_obeyed_when_all_hosts_know_of_it():
    told = []
    with pytest.raises(KeyboardInterrupt), StopSignals(told.append) as signals:
        signals.waits = True
        signal.raise_signal(signal.SIGINT)
        signals.obey()  # not yet
        signals.share = int
        signals.agree()
        signals.obey()
