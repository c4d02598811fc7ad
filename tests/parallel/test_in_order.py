"""Results in order, whatever becomes of the processes."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from keras_mscam.errors import UserError
from keras_mscam.parallel.in_order import map_in_order


def test_results_come_in_order_and_the_work_runs_only_a_little_ahead():
    jobs = [(number, 2) for number in range(1000)]
    results = map_in_order(pow, jobs, workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()
    assert list(map_in_order(pow, jobs, 2)) == [number**2 for number in range(1000)]
    assert list(map_in_order(pow, [], 2)) == []


def test_a_worker_that_dies():
    with pytest.raises(UserError, match="worker process died"):
        list(map_in_order(os._exit, [(1,)] * 300, workers=2))


DIE = ("__import__('os')._exit(1)",)


def test_a_job_that_ends_its_process_is_one_result():
    jobs = [(f"{number}",) for number in range(300)]
    for unlucky in (0, 77, 78, 299):
        jobs[unlucky] = DIE
    results = list(map_in_order(eval, jobs, workers=2, died="died"))
    assert results == ["died" if job == DIE else int(*job) for job in jobs]


def test_broken_off_while_it_starts_no_process_is_left(monkeypatch):
    def break_off(pool):
        time.sleep(3)  # until the process waits for work
        raise KeyboardInterrupt

    # As a signal may, behind the start of the processes, before a thread watches them.
    monkeypatch.setattr(
        ProcessPoolExecutor, "_start_executor_manager_thread", break_off
    )
    with pytest.raises(KeyboardInterrupt):
        list(map_in_order(pow, [(2, 3)], 1, apart=True))
    for child in multiprocessing.active_children():
        child.join(10)
    assert multiprocessing.active_children() == []


def test_work_apart_is_never_done_here():
    jobs = [("__import__('os').getpid()",)] * 3
    for workers in (1, 2):
        assert os.getpid() not in map_in_order(eval, jobs, workers, apart=True)
        assert set(map_in_order(eval, jobs, workers)) == {os.getpid()}


def test_processes_that_all_die():
    """No job is told to have ended its process before it is known whose fault it is."""
    results = map_in_order(eval, [DIE] * 300, workers=2, died="died")
    with pytest.raises(UserError, match="worker process died"):
        next(results)
