"""Signals that ask a training to stop."""

import signal
import threading

import pytest

from keras_mscam.training.stop import StopSignals, Terminated

NUMBERS = signal.SIGINT, signal.SIGTERM


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
    with pytest.raises(error) as raised, StopSignals() as stop:
        stop.obey()  # nothing to obey
        stop.waits = True
        signal.raise_signal(number)
        assert stop.received == number
        stop.obey()
    assert raised.type is error


def test_a_signal_is_granted_at_once_where_nothing_waits():
    with pytest.raises(Terminated), StopSignals():
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal waited")


def test_a_wish_is_granted_when_the_waiting_ends():
    with pytest.raises(Terminated), StopSignals() as stop:
        stop.waits = True
        signal.raise_signal(signal.SIGTERM)
        stop.stop_waiting()
        pytest.fail("the signal waited")


def test_a_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        stop.waits = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal waited")


def test_a_wish_at_the_very_end_is_granted():
    with pytest.raises(Terminated), StopSignals() as stop:
        stop.waits = True
        signal.raise_signal(signal.SIGTERM)


def test_an_error_goes_before_a_wish():
    with pytest.raises(ValueError), StopSignals() as stop:
        stop.waits = True
        signal.raise_signal(signal.SIGINT)
        raise ValueError


def test_an_ignored_signal_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.received is None
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
