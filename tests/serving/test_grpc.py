"""gRPC over a loopback channel, with the stubs of tensorflow-serving-api."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from keras_mscam.serving.batching import BatchOptions
from keras_mscam.serving.core import Core
from keras_mscam.serving.grpc_services import PredictionService, build_grpc_server
from keras_mscam.serving.metrics import Metrics
from keras_mscam.serving.repository import ModelRepository
from keras_mscam.serving.versions import VersionPolicy

MOST_BYTES = 1 << 20


class Connection:
    """A core, and stubs that reach it over loopback."""

    def __init__(self, core, channel):
        self.core = core
        self.channel = channel
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture
def run(model_repository, make_version):
    """Run an asynchronous test with a server of versions 1 (x * 2) and 2 (x * 3)."""
    make_version(model_repository / "toy", 2, 3)

    def run(test, token=None, timeout=None, **options):
        async def main():
            with ThreadPoolExecutor(1) as executor:
                repository = ModelRepository(
                    {"toy": model_repository / "toy"},
                    executor,
                    VersionPolicy(latest=None),
                    labels={"stable": 1},
                )
                await repository.refresh()
                core = Core(repository, Metrics(), BatchOptions(**options))
                server = build_grpc_server(
                    core, token=token, max_request_bytes=MOST_BYTES, timeout=timeout
                )
                port = server.add_insecure_port("127.0.0.1:0")
                await server.start()
                try:
                    async with (
                        asyncio.timeout(60),
                        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
                    ):
                        return await test(Connection(core, channel))
                finally:
                    await server.stop(None)
                    core.executor.shutdown()

        return asyncio.run(main())

    return run


def make(signature="", version=None, label=None, name="toy", outputs=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for key, value in inputs.items():
        proto = (
            value
            if isinstance(value, tensor_pb2.TensorProto)
            else tf.make_tensor_proto(value)
        )
        request.inputs[key].CopyFrom(proto)
    return request


async def get_error(call):
    with pytest.raises(grpc.RpcError) as error:
        await call
    assert "\n" not in error.value.details()
    assert "Traceback" not in error.value.details()
    return error.value.code().name, error.value.details()


def test_predict(run):
    async def test(server):
        answer = await server.prediction.Predict(make(x=[[1.0, 2.0]]))
        assert answer.model_spec.name == "toy"
        assert answer.model_spec.version.value == 2
        assert answer.model_spec.signature_name == "serving_default"
        assert answer.outputs.keys() == {"y", "batch"}
        # Clients of TF Serving read the field of the type.
        assert list(answer.outputs["y"].float_val) == [3, 6]
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), [[3, 6]])
        answer = await server.prediction.Predict(make(x=[[1.0]], outputs=["batch"]))
        assert answer.outputs.keys() == {"batch"}

    run(test)


@pytest.mark.parametrize(
    ("which", "factor"),
    [({"version": 1}, 2), ({"version": 2}, 3), ({"label": "stable"}, 2)],
)
def test_versions_and_labels(run, which, factor):
    async def test(server):
        answer = await server.prediction.Predict(make(x=[[1.0]], **which))
        assert list(answer.outputs["y"].float_val) == [factor]

    run(test)


def test_strings_keep_every_byte(run):
    contents = [bytes(range(256)) + b"\0", b"", b"\xff\xfe"]

    async def test(server):
        request = make("image", image_bytes=np.array(contents, object))
        answer = await server.prediction.Predict(request)
        assert list(answer.outputs["copy_bytes"].string_val) == contents
        assert list(answer.outputs["size"].int_val) == [257, 0, 2]

    run(test)


def test_many_clients_get_their_own_answers(run):
    rng = np.random.default_rng(0)
    arrays = [
        rng.random((rng.integers(1, 9), rng.integers(1, 4)), np.float32)
        for _ in range(300)
    ]

    async def test(server):
        async def ask(array):
            answer = await server.prediction.Predict(make(x=array))
            return tf.make_ndarray(answer.outputs["y"])

        for array, y in zip(
            arrays, await asyncio.gather(*map(ask, arrays)), strict=True
        ):
            np.testing.assert_array_equal(y, 3 * array)

    run(test, max_queue=10_000)


def test_large_messages(run):
    async def test(server):
        x = np.random.default_rng(0).random((4, 60_000), np.float32)
        answer = await server.prediction.Predict(make(x=x))
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), 3 * x)
        # 1.2 MB in a message of 1 MB at most.
        x = np.zeros((1, 300_000), np.float32)
        code, _ = await get_error(server.prediction.Predict(make(x=x)))
        assert code == "RESOURCE_EXHAUSTED"

    run(test)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        # Of TF Serving.
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (make(name="", label="x"), "INVALID_ARGUMENT", "ModelSpec has no name specif"),
        (make(name="other"), "NOT_FOUND", "Servable not found for request: Latest(oth"),
        (make(version=9), "NOT_FOUND", "Servable not found for request: Specific(toy,"),
        (make(label="x"), "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
        (make("other"), "FAILED_PRECONDITION", 'Serving signature key "other" not fou'),
        (make(), "INVALID_ARGUMENT", "input size does not match signature: 0!=1"),
        (make(x=["a"]), "INVALID_ARGUMENT", "Expects arg[0] to be float but string is"),
        (
            make(x=[[1.0]], outputs="z"),
            "INVALID_ARGUMENT",
            "output tensor alias not fo",
        ),
        # Of the graph.
        (make("image", image_bytes=[b"bad"]), "INVALID_ARGUMENT", "It is bad."),
    ],
)
def test_wrong_requests(run, request_, code, message):
    async def test(server):
        found = await get_error(server.prediction.Predict(request_))
        assert found[0] == code
        assert message in found[1]

    run(test)


def test_malformed_tensors(run):
    def tensor(sizes, dtype=1, **fields):
        proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
        for size in sizes:
            proto.tensor_shape.dim.add().size = size
        return proto

    tensors = [
        tensor([1, 3], tensor_content=b"short"),
        tensor([1 << 40, 1 << 40], float_val=[1]),
        tensor([1 << 28], float_val=[1]),
        tensor([1 << 60, 0]),
        tensor([-5, 1], float_val=[1]),
        tensor([1, 1], dtype=20),
        tensor([1, 1], dtype=4321),
        tensor([1] * 5000, float_val=[1]),
        tensor_pb2.TensorProto(),
    ]

    async def test(server):
        for proto in tensors:
            code, _ = await get_error(server.prediction.Predict(make(x=proto)))
            assert code == "INVALID_ARGUMENT"
        answer = await server.prediction.Predict(make(x=[[1.0]]))
        assert list(answer.outputs["y"].float_val) == [3]
        return server.core.metrics.render()[0].decode()

    page = run(test)
    labels = 'model_name="",signature="",status="INVALID_ARGUMENT"'
    assert f":tensorflow:serving:request_count{{{labels}}}" in page


def test_messages_that_are_no_protobuf(run):
    async def test(server):
        call = server.channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict"
        )
        for message in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", bytes(1000)):
            with pytest.raises(grpc.RpcError):
                await call(message)
        await server.prediction.Predict(make(x=[[1.0]]))

    run(test)


def test_a_long_sentence_is_cut(run):
    # gRPC sends it in a header, which is limited.
    async def test(server):
        _, message = await get_error(server.prediction.Predict(make("x" * 100_000)))
        assert len(message) == 1000

    run(test)


def hold_up(server):
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait():
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)

    server.core.executor.submit(wait)
    return go_on


@pytest.mark.parametrize("whose", ["client", "server"])
def test_deadlines(run, whose):
    async def test(server):
        go_on = hold_up(server)
        timeout = 0.1 if whose == "client" else None
        call = server.prediction.Predict(make(x=[[1.0]]), timeout=timeout)
        code, _ = await get_error(call)
        assert code == "DEADLINE_EXCEEDED"
        while server.core.in_flight:  # the client may know earlier than the server
            await asyncio.sleep(0.01)
        go_on.set()

    run(test, timeout=0.1 if whose == "server" else None)


def test_an_error_that_the_client_does_not_wait_for(run):
    """Its deadline was over while the answer was made: gRPC can send none."""

    class Gone:
        def invocation_metadata(self):
            return ()

        def time_remaining(self):
            return -0.5

        async def abort(self, code, message):
            said.append((code.name, message))
            raise grpc.aio.InternalError('Failed "execute_batch"')

    async def test(server):
        service = PredictionService(server.core, MOST_BYTES, None)
        with pytest.raises(asyncio.CancelledError):
            await service.Predict(make(x=[[1.0]]), Gone())

    said = []
    run(test)
    assert said == [("DEADLINE_EXCEEDED", "There was no answer after 0 s.")]


def test_a_client_that_goes_away(run):
    async def test(server):
        go_on = hold_up(server)
        first = server.prediction.Predict(make(x=[[1.0]]))
        await asyncio.sleep(0.2)  # its batch waits for the thread
        gone = server.prediction.Predict(make(x=[[2.0]]))
        while server.core.in_flight < 2:
            await asyncio.sleep(0.01)
        gone.cancel()
        while server.core.in_flight > 1:
            await asyncio.sleep(0.01)
        assert server.core.room.waiting == 0
        go_on.set()
        await first
        return server.core.metrics.render()[0].decode()

    page = run(test)
    # Of two requests one was run.
    labels = 'model_name="toy",signature="serving_default"'
    assert f"batch_size_sum{{{labels}}} 1.0" in page
    assert 'status="CANCELLED"} 1.0' in page


def test_a_full_queue(run):
    async def test(server):
        go_on = hold_up(server)
        calls = [server.prediction.Predict(make(x=[[1.0]]))]
        await asyncio.sleep(0.2)
        calls += [server.prediction.Predict(make(x=[[1.0]])) for _ in range(5)]
        results = asyncio.gather(*calls, return_exceptions=True)
        while server.core.in_flight > 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        go_on.set()
        codes = [
            result.code().name if isinstance(result, grpc.RpcError) else "OK"
            for result in await results
        ]
        # One runs, three wait.
        assert sorted(codes) == ["OK"] * 4 + ["RESOURCE_EXHAUSTED"] * 2

    run(test, max_queue=3)


def test_metadata(run):
    async def test(server):
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        # Of TF Serving.
        found = await get_error(server.prediction.GetModelMetadata(request))
        assert found == ("INVALID_ARGUMENT", "Missing ModelSpec")
        request.model_spec.name = "toy"
        code, message = await get_error(server.prediction.GetModelMetadata(request))
        assert code == "INVALID_ARGUMENT"
        assert message.endswith("must specify at least one metadata_field")
        request.metadata_field.append("signature_def")
        answer = await server.prediction.GetModelMetadata(request)
        assert answer.model_spec.version.value == 2
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        found = signatures.signature_def["serving_default"]
        assert found.method_name == "tensorflow/serving/predict"
        assert found.inputs["x"].dtype == tf.float32.as_datatype_enum
        assert [d.size for d in found.inputs["x"].tensor_shape.dim] == [-1, -1]
        request.metadata_field.append("other")
        found = await get_error(server.prediction.GetModelMetadata(request))
        assert found == ("INVALID_ARGUMENT", "Metadata field other is not supported")

    run(test)


def test_status(run):
    async def test(server):
        request = get_model_status_pb2.GetModelStatusRequest()
        found = await get_error(server.model.GetModelStatus(request))
        assert found == ("INVALID_ARGUMENT", "Missing ModelSpec")
        request.model_spec.name = "toy"
        answer = await server.model.GetModelStatus(request)
        states = [(s.version, s.state) for s in answer.model_version_status]
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        assert states == [(2, available), (1, available)]
        assert answer.model_version_status[0].status.error_code == 0
        request.model_spec.version.value = 7
        found = await get_error(server.model.GetModelStatus(request))
        assert found == ("NOT_FOUND", "Could not find version 7 of model toy")

    run(test)


def test_what_is_not_implemented(run):
    async def test(server):
        for method, request in (
            ("Classify", classification_pb2.ClassificationRequest()),
            ("Regress", regression_pb2.RegressionRequest()),
            ("MultiInference", inference_pb2.MultiInferenceRequest()),
        ):
            call = getattr(server.prediction, method)(request)
            code, message = await get_error(call)
            assert code == "UNIMPLEMENTED"
            assert method in message and "Predict" in message

    run(test)


def make_config(labels=(), name="toy", path="", **policy):
    request = model_management_pb2.ReloadConfigRequest()
    model = request.config.model_config_list.config.add(name=name, base_path=path)
    model.version_labels.update(dict(labels))
    if "latest" in policy:
        model.model_version_policy.latest.num_versions = policy["latest"]
    if "specific" in policy:
        model.model_version_policy.specific.versions.extend(policy["specific"])
    return request


def test_reloading_the_configuration(run):
    async def test(server):
        reload = server.model.HandleReloadConfigRequest
        config = make_config({"stable": 2, "canary": 1}, specific=[1, 2])
        answer = await reload(config)
        assert answer.status.error_code == 0
        answer = await server.prediction.Predict(make(x=[[1.0]], label="stable"))
        assert list(answer.outputs["y"].float_val) == [3]
        # Version 1 goes, but a label for it can't be had any more.
        code, message = await get_error(reload(make_config({"canary": 1}, latest=1)))
        assert code == "FAILED_PRECONDITION"
        assert message == (
            "Request to assign label to version 1 of model toy, which is not currently "
            "available for inference"
        )
        assert server.core.repository.list_available() == {"toy": [2]}
        answer = await server.prediction.Predict(make(x=[[1.0]], label="stable"))
        assert answer.model_spec.version.value == 2

    run(test)


def test_what_a_configuration_may_not_ask(run):
    async def test(server):
        reload = server.model.HandleReloadConfigRequest
        request = model_management_pb2.ReloadConfigRequest()
        code, message = await get_error(reload(request))
        assert code == "INVALID_ARGUMENT"
        assert message.startswith("ServerModelConfig type not supported")
        for config in (make_config(name="other"), make_config(path="/etc")):
            code, _ = await get_error(reload(config))
            assert code == "UNIMPLEMENTED"

    run(test)


def test_a_token(run):
    async def test(server):
        request = make(x=[[1.0]])
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "toy"
        for metadata in (
            None,
            [("authorization", "Bearer wrong")],
            [("authorization", "secret")],
            [("authorization", "Bearer secre")],
            [("authorization", "Basic secret")],
        ):
            for call in (
                server.prediction.Predict(request, metadata=metadata),
                server.model.GetModelStatus(status, metadata=metadata),
            ):
                code, _ = await get_error(call)
                assert code == "UNAUTHENTICATED"
        metadata = [("authorization", "Bearer secret")]
        answer = await server.prediction.Predict(request, metadata=metadata)
        assert list(answer.outputs["y"].float_val) == [3]

    run(test, token="secret")


def test_a_name_for_a_request(run, caplog):
    async def test(server):
        for name in ("abc-1", "not\u00fcr sch\u00f6n".encode().hex() * 9):
            metadata = [("x-request-id", name)]
            await server.prediction.Predict(make(x=[[1.0]]), metadata=metadata)

    with caplog.at_level("INFO", logger="keras_mscam.serving.requests"):
        run(test)
    first, second = (record.fields for record in caplog.records)
    assert first["request"] == "abc-1"
    assert first["protocol"] == "GRPC"
    # Too long: one of our own.
    assert len(second["request"]) == 32
    json.dumps(first)


def test_the_services_describe_themselves(run):
    # What grpcurl asks first, so that it needs no file of definitions.
    async def test(connection):
        stub = reflection_pb2_grpc.ServerReflectionStub(connection.channel)
        request = reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="tensorflow.serving.ModelService"
        )
        async for answer in stub.ServerReflectionInfo(iter([request])):
            names = [
                descriptor_pb2.FileDescriptorProto.FromString(file).name
                for file in answer.file_descriptor_response.file_descriptor_proto
            ]
            assert "tensorflow_serving/apis/model_service.proto" in names

    run(test)


@pytest.mark.parametrize("service", ["PredictionService/Predict", "ModelService/Other"])
def test_bytes_that_are_no_message(run, service):
    async def test(server):
        # Field 1, of 127 bytes of which none follow.
        call = server.channel.unary_unary(f"/tensorflow.serving.{service}")
        code, text = await get_error(call(b"\x0a\x7f"))
        if service.endswith("Other"):
            assert code == "UNIMPLEMENTED"
            return
        assert (code, text) == (
            "INVALID_ARGUMENT",
            "The message of the request cannot be parsed.",
        )
        assert b"INVALID_ARGUMENT" in server.core.metrics.render()[0]

    run(test)


def test_what_an_error_quotes_is_printable_and_short(run):
    async def test(server):
        # é takes 2 bytes in UTF-8, and 6 in the header of an answer.
        name = "a\nb\x00" + "é" * 5000
        code, text = await get_error(server.prediction.Predict(make(name=name)))
        assert code == "NOT_FOUND" and "a b é" in text
        assert len(text.encode()) <= 1000

    run(test)
