"""What both protocols ask of: many requests at once, versions that change meanwhile."""

import asyncio
import json

import numpy as np
import pytest

from keras_mscam.serving.monitoring import JsonFormatter
from keras_mscam.serving.serving_error import ServingError

from .conftest import hold_up


async def predict(core, signature="", request_id=None, name="toy", **options):
    """Run a signature of the toy model, as protocols do."""
    with core.metrics.record("REST", request_id) as record:
        return await core.predict(record, name, signature=signature, **options)


def make(*values):
    return {"x": np.array(values, np.float32)[:, None]}


async def get_code(call):
    with pytest.raises(ServingError) as error:
        await call
    return error.value.code.name


def test_predict(run_core):
    async def test(core):
        answer = await predict(core, label="stable", inputs=make(1, 2))
        assert (answer.version, answer.signature) == (1, "serving_default")
        np.testing.assert_array_equal(answer.outputs["y"], [[2], [4]])
        assert answer.outputs["batch"].tolist() == [2, 2]
        answer = await predict(core, inputs=make(1), output_filter=["y"])
        assert answer.outputs.keys() == {"y"}

    run_core(test, labels=("stable=1",))


def test_signatures_without_a_batch(run_core):
    async def test(core):
        answers = await asyncio.gather(
            *[
                predict(core, "total", inputs={"x": np.array([i, 1, 1])})
                for i in range(20)
            ]
        )
        assert [int(a.outputs["total"]) for a in answers] == [i + 2 for i in range(20)]

    run_core(test)


def test_an_empty_batch(run_core):
    async def test(core):
        answer = await predict(core, inputs={"x": np.zeros((0, 4), np.float32)})
        assert answer.outputs["y"].shape == (0, 4)

    run_core(test)


def test_inputs_of_different_batch_sizes(run_core):
    """The graph says what it thinks of them."""

    async def test(core):
        inputs = {"a": np.ones((2, 2), np.int32), "b": np.ones((3, 2), np.int32)}
        call = predict(core, "add", inputs=inputs)
        assert await get_code(call) == "INVALID_ARGUMENT"

    run_core(test)


@pytest.mark.parametrize("late", ["image", "total"])
def test_a_busy_signature_does_not_hold_up_another(run_core, late):
    """They take turns: one batch of it runs, and perhaps the next, not all 200."""
    inputs = {
        "image": {"image_bytes": np.array([b"abc"], object)},
        "total": {"x": np.array([1, 1, 1])},
    }

    async def test(core):
        go_on = hold_up(core)
        crowd = [
            asyncio.create_task(predict(core, inputs=make(i, i))) for i in range(200)
        ]
        await asyncio.sleep(0.05)
        last = asyncio.create_task(predict(core, late, inputs=inputs[late]))
        await asyncio.sleep(0.05)  # longer than a batch waits for others
        go_on.set()
        await last
        assert sum(task.done() for task in crowd) < 20
        answers = await asyncio.gather(*crowd)
        assert [a.outputs["y"][1, 0] for a in answers] == [2 * i for i in range(200)]

    run_core(test, max_batch_size=2)


@pytest.mark.parametrize("signature", ["serving_default", "total"])
def test_a_deadline(run_core, signature):
    async def test(core):
        go_on = hold_up(core)
        inputs = {"serving_default": make(0), "total": {"x": np.array([1, 1, 1])}}
        busy = asyncio.create_task(predict(core, inputs=make(1)))
        await asyncio.sleep(0.1)
        call = predict(core, signature, inputs=inputs[signature], timeout=0.05)
        assert await get_code(call) == "DEADLINE_EXCEEDED"
        assert core.room.waiting == 0
        go_on.set()
        await busy
        return core.metrics.render()[0].decode()

    page = run_core(test)
    # What was late was never run.
    line = f'batch_size_count{{model_name="toy",signature="{signature}"}}'
    assert f"{line} 1.0" in page if signature == "serving_default" else line not in page


def test_new_versions_lose_no_request(run_core, model_repository, make_version):
    """Clients ask all the time, while versions 2 to 4 replace each other."""
    factors = {1: 2, 2: 3, 3: 5, 4: 7}

    async def test(core):
        done, counts = asyncio.Event(), dict.fromkeys(factors, 0)

        async def ask(value):
            while not done.is_set():
                answer = await predict(core, inputs=make(value))
                expected = value * factors[answer.version]
                assert answer.outputs["y"].tolist() == [[expected]]
                counts[answer.version] += 1

        clients = [asyncio.create_task(ask(value)) for value in range(16)]
        for version in (2, 3, 4):
            await asyncio.to_thread(
                make_version, model_repository / "toy", version, factors[version]
            )
            await core.models.refresh()
            while not counts[version] and not any(c.done() for c in clients):
                await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*clients)
        assert all(counts.values()), counts
        states = [(v.number, v.state) for v in core.models.list_versions("toy")]
        assert states == [(4, "AVAILABLE"), (3, "END"), (2, "END"), (1, "END")]

    run_core(test)


def test_what_is_counted_and_logged(run_core, caplog):
    # What a client makes up must not become a label, nor a file name a line of a log.
    async def test(core):
        await predict(core, inputs=make(1, 2))
        for arguments in (
            {"name": "made up", "inputs": {}},
            {"signature": "made up", "inputs": {}},
            {"inputs": {"made up": np.zeros(1)}},
        ):
            with pytest.raises(ServingError):
                await predict(core, request_id="made\nup", **arguments)
        return core.metrics.render()

    with caplog.at_level("INFO", logger="keras_mscam.serving.requests"):
        page, content_type = run_core(test)
    page = page.decode()
    assert content_type.startswith("text/plain")
    assert "made up" not in page
    # The very names and labels of TF Serving, where it has them.
    name = ":tensorflow:serving:request_count"
    assert f"# TYPE {name} counter" in page
    labels = 'model_name="toy",signature="serving_default",status="OK"'
    assert f"{name}{{{labels}}} 1.0" in page
    labels = 'model_name="toy",signature="",status="FAILED_PRECONDITION"'
    assert f"{name}{{{labels}}} 1.0" in page
    labels = 'model_name="toy",signature="serving_default",status="INVALID_ARGUMENT"'
    assert f"{name}{{{labels}}} 1.0" in page
    labels = 'model_name="toy",signature="serving_default"'
    assert f"keras_mscam:serving:batch_size_sum{{{labels}}} 2.0" in page
    assert "keras_mscam:serving:queue_length 0.0" in page
    for name in ("request_latency", "runtime_latency"):
        assert f"# TYPE :tensorflow:serving:{name} histogram" in page
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [line["status"] for line in lines] == [
        "OK", "NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT",
    ]  # fmt: skip
    first = lines[0]
    assert {
        "protocol": "REST", "model": "toy", "version": 1, "images": 2,
        "signature": "serving_default", "status": "OK", "level": "INFO",
    }.items() <= first.items()  # fmt: skip
    assert first["milliseconds"] > 0 and len(first["request"]) == 32
    assert "made up" not in json.dumps(lines)
