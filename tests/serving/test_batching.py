"""Micro-batching, with functions in place of graphs."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from keras_mscam.serving.batching import Batcher, WaitingRoom
from keras_mscam.serving.server_options import ServerOptions
from keras_mscam.serving.serving_error import ServingError, refuse


class Runner:
    """Doubles x; notes every batch; fails for rows of -1; can be held up."""

    def __init__(self):
        self.batches = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, inputs):
        self.started.set()
        assert self.go_on.wait(20)
        self.batches.append(inputs["x"].copy())
        if (inputs["x"] == -1).any():
            raise refuse("A row is -1.")
        return {"y": 2 * inputs["x"], "row": np.arange(len(inputs["x"]))}

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


@pytest.fixture
def runner():
    return Runner()


def run(test, runner, on_batch=lambda *_: None, **options):
    """Run an asynchronous test with a batcher."""
    options = {"max_batch_size": 8, "batch_timeout": 0.02, "max_queue": 1000} | options

    async def main():
        with ThreadPoolExecutor(1) as executor:
            told = ServerOptions(**options)
            room = WaitingRoom(told.max_queue, told.max_queue_bytes)
            batcher = Batcher(runner, executor, room, told, on_batch)
            async with asyncio.timeout(30):
                return await test(batcher)

    return asyncio.run(main())


def make(*values, width=3):
    """Return a request: a row of equal numbers for each value."""
    column = np.array(values, np.float32)[:, None]
    return {"x": np.repeat(column, width, axis=1)}


def submit(batcher, inputs):
    return batcher.submit(inputs, len(inputs["x"]))


def get_code(result):
    assert isinstance(result, ServingError), result
    return result.code


def test_requests_of_the_same_moment_run_together(runner):
    async def test(batcher):
        return await asyncio.gather(*[submit(batcher, make(i)) for i in range(8)])

    results = run(test, runner)
    assert runner.sizes == [8]
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result["y"], make(2 * i)["x"])
        np.testing.assert_array_equal(result["row"], [i])


def test_a_full_batch_does_not_wait(runner):
    async def test(batcher):
        start = time.monotonic()
        await asyncio.gather(*[submit(batcher, make(i)) for i in range(16)])
        return time.monotonic() - start

    assert run(test, runner, batch_timeout=5) < 2
    assert runner.sizes == [8, 8]


def test_a_batch_fills_while_another_runs(runner):
    async def test(batcher):
        runner.go_on.clear()
        first = asyncio.create_task(submit(batcher, make(0)))
        await asyncio.to_thread(runner.started.wait, 10)
        others = [asyncio.create_task(submit(batcher, make(i))) for i in range(1, 6)]
        await asyncio.sleep(0.1)
        assert batcher.waiting == 5
        runner.go_on.set()
        await asyncio.gather(first, *others)

    run(test, runner)
    assert runner.sizes == [1, 5]


def test_everybody_gets_their_own_answer(runner):
    """Requests of 1 to 20 rows, in batches of 8, all at once."""
    rng = np.random.default_rng(0)
    requests = [rng.random((rng.integers(1, 21), 3)) for _ in range(300)]

    async def test(batcher):
        return await asyncio.gather(*[submit(batcher, {"x": x}) for x in requests])

    results = run(test, runner, max_queue=10_000)
    for x, result in zip(requests, results, strict=True):
        np.testing.assert_array_equal(result["y"], 2 * x)
    assert max(runner.sizes) <= 8
    # Nothing is run twice.
    assert sum(runner.sizes) == sum(map(len, requests))


def test_a_large_request_runs_in_pieces(runner):
    async def test(batcher):
        return await submit(batcher, make(*range(19)))

    result = run(test, runner)
    np.testing.assert_array_equal(result["y"], 2 * make(*range(19))["x"])
    # 19 = 8 + 8 + 3.
    assert runner.sizes == [8, 8, 3]


def test_other_shapes_and_types_are_batched_apart(runner):
    async def test(batcher):
        return await asyncio.gather(
            *[submit(batcher, make(i, width=2 + i % 2)) for i in range(6)],
            *[submit(batcher, {"x": np.array([[i] * 3])}) for i in range(2)],
        )

    results = run(test, runner)
    for i, result in enumerate(results[:6]):
        np.testing.assert_array_equal(result["y"], make(2 * i, width=2 + i % 2)["x"])
    assert results[7]["y"].dtype == np.int64
    # Three of width 2, three of width 3, two of integers.
    assert sorted(runner.sizes) == [2, 3, 3]


def test_who_is_at_fault_fails_alone(runner):
    async def test(batcher):
        return await asyncio.gather(
            *[submit(batcher, make(value)) for value in (0, 1, -1, 3, -1)],
            return_exceptions=True,
        )

    results = run(test, runner)
    for place in (2, 4):
        assert get_code(results[place]) == grpc.StatusCode.INVALID_ARGUMENT
    for value in (0, 1, 3):
        np.testing.assert_array_equal(results[value]["y"], make(2 * value)["x"])


def test_a_full_queue_refuses_at_once(runner):
    async def test(batcher):
        runner.go_on.clear()
        running = asyncio.create_task(submit(batcher, make(0)))
        await asyncio.to_thread(runner.started.wait, 10)
        waiting = [asyncio.create_task(submit(batcher, make(1, 2))) for _ in range(2)]
        await asyncio.sleep(0.01)
        start = time.monotonic()
        with pytest.raises(ServingError, match="4 images") as refusal:
            await submit(batcher, make(3, 4))
        assert time.monotonic() - start < 1
        last = asyncio.create_task(submit(batcher, make(5)))
        await asyncio.sleep(0.01)
        runner.go_on.set()
        await asyncio.gather(running, last, *waiting)
        # There is room again.
        await submit(batcher, make(1, 2, 3, 4, 5))
        return refusal.value

    assert get_code(run(test, runner, max_queue=5)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )


def test_waiting_bytes_are_bounded_too(runner):
    async def test(batcher):
        runner.go_on.clear()
        running = asyncio.create_task(submit(batcher, make(0, width=1000)))
        await asyncio.to_thread(runner.started.wait, 10)
        # 1000 numbers of four bytes: the first is let in, though alone above 3000.
        waiting = asyncio.create_task(submit(batcher, make(1, width=1000)))
        await asyncio.sleep(0.01)
        with pytest.raises(ServingError) as refusal:
            await submit(batcher, make(2, width=1000))
        runner.go_on.set()
        await asyncio.gather(running, waiting)
        return refusal.value

    assert get_code(run(test, runner, max_queue_bytes=3000)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )


def test_a_request_that_never_fits_is_wrong(runner):
    async def test(batcher):
        with pytest.raises(ServingError, match="6 images") as refusal:
            await submit(batcher, make(*range(6)))
        return refusal.value

    code = get_code(run(test, runner, max_queue=5))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_what_nobody_waits_for_is_not_run(runner):
    async def test(batcher):
        runner.go_on.clear()
        running = asyncio.create_task(submit(batcher, make(0)))
        await asyncio.to_thread(runner.started.wait, 10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await submit(batcher, make(7))
        gone = asyncio.create_task(submit(batcher, make(8)))
        kept = asyncio.create_task(submit(batcher, make(9)))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 1
        runner.go_on.set()
        return await asyncio.gather(running, kept)

    _, kept = run(test, runner)
    np.testing.assert_array_equal(kept["y"], make(18)["x"])
    assert [batch[:, 0].tolist() for batch in runner.batches] == [[0], [9]]


def test_a_waiter_that_gives_up_takes_nothing_from_its_batch(runner):
    async def test(batcher):
        runner.go_on.clear()
        tasks = [asyncio.create_task(submit(batcher, make(i))) for i in range(3)]
        await asyncio.to_thread(runner.started.wait, 10)
        tasks[1].cancel()
        runner.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, gone, last = run(test, runner)
    assert isinstance(gone, asyncio.CancelledError)
    np.testing.assert_array_equal(first["y"], make(0)["x"])
    np.testing.assert_array_equal(last["y"], make(4)["x"])


def test_outputs_without_a_row_for_each_input():
    """A graph that gives the distinct values of all rows, not one of each."""

    async def test(batcher):
        whole = {"x": np.array([1, 2, 3])}
        calls = [submit(batcher, {"x": np.array([1, 1, 2])}), submit(batcher, whole)]
        return await asyncio.gather(*calls, return_exceptions=True)

    mixed, whole = run(test, lambda inputs: {"values": np.unique(inputs["x"])})
    assert get_code(mixed) == grpc.StatusCode.FAILED_PRECONDITION
    assert whole["values"].tolist() == [1, 2, 3]


def test_what_is_no_batch_runs_alone(runner):
    async def test(batcher):
        total = {"x": np.array([1.0, 2.0])}
        return await asyncio.gather(
            *[batcher.submit(total, None) for _ in range(2)], submit(batcher, make(1))
        )

    first, second, _ = run(test, runner)
    assert first["y"].tolist() == second["y"].tolist() == [2, 4]
    assert runner.sizes == [2, 2, 1]


def test_batches_are_told(runner):
    told = []

    async def test(batcher):
        await asyncio.gather(*[submit(batcher, make(i)) for i in range(3)])

    run(test, runner, on_batch=lambda *batch: told.append(batch))
    ((size, seconds, waits),) = told
    assert size == 3
    assert 0 <= seconds < 5
    # The batch was not full: the first of them has waited at least that long.
    assert len(waits) == 3 and max(waits) >= 0.019
