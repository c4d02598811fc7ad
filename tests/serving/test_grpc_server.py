"""gRPC over a loopback channel, with the stubs of tensorflow-serving-api."""

import asyncio
import time
import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from keras_mscam.serving.grpc_server import (
    _PredictionService,
    build_grpc_server,
    decode_inputs,
    encode_output,
)
from keras_mscam.serving.serving_error import ServingError

from .conftest import hold_up, make_request

MOST_BYTES = 1 << 20


class Connection:
    """A core, and stubs that reach it over loopback."""

    def __init__(self, core, channel):
        self.core = core
        self.channel = channel
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture
def run_grpc(run_core, model_repository, make_version):
    """Run an asynchronous test with a server of versions 1 (x * 2) and 2 (x * 3)."""
    make_version(model_repository / "toy", 2, 3)

    def run_grpc(test, token=None, **options):
        async def serve(core):
            core.token = token
            server = build_grpc_server(core)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    return await test(Connection(core, channel))
            finally:
                await server.stop(None)

        told = {"versions": ("all",), "labels": ("stable=1",)}
        return run_core(serve, max_request_bytes=MOST_BYTES, **told, **options)

    return run_grpc


async def get_error(call):
    with pytest.raises(grpc.RpcError) as error:
        await call
    message = error.value.details()
    assert "\n" not in message and "Traceback" not in message
    return error.value.code().name, message


def test_predict(run_grpc):
    contents = [bytes(range(256)) + b"\0", b"", b"\xff\xfe"]

    async def test(server):
        answer = await server.prediction.Predict(make_request(x=[[1.0, 2.0]]))
        assert answer.model_spec.name == "toy"
        assert answer.model_spec.version.value == 2
        assert answer.model_spec.signature_name == "serving_default"
        assert answer.outputs.keys() == {"y", "batch"}
        # Clients of TF Serving read the field of the type.
        assert list(answer.outputs["y"].float_val) == [3, 6]
        assert list(answer.outputs["batch"].int_val) == [1]
        request = make_request(x=[[1.0]])
        request.output_filter.append("batch")
        answer = await server.prediction.Predict(request)
        assert answer.outputs.keys() == {"batch"}
        request = make_request("image", image_bytes=np.array(contents, object))
        answer = await server.prediction.Predict(request)
        assert list(answer.outputs["copy_bytes"].string_val) == contents
        for choice, factor in (("version", 2), ("label", 2), ("", 3)):
            request = make_request(x=[[1.0]])
            if choice == "version":
                request.model_spec.version.value = 1
            elif choice == "label":
                request.model_spec.version_label = "stable"
            answer = await server.prediction.Predict(request)
            assert list(answer.outputs["y"].float_val) == [factor]

    run_grpc(test)


def test_large_messages(run_grpc):
    async def test(server):
        x = np.random.default_rng(0).random((4, 60_000), np.float32)
        answer = await server.prediction.Predict(make_request(x=x))
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), 3 * x)
        # 1.2 MB in a message of 1 MB at most.
        x = np.zeros((1, 300_000), np.float32)
        code, _ = await get_error(server.prediction.Predict(make_request(x=x)))
        assert code == "RESOURCE_EXHAUSTED"

    run_grpc(test)


@pytest.mark.parametrize("whose", ["client", "server"])
def test_deadlines(run_grpc, whose):
    async def test(server):
        go_on = hold_up(server.core)
        timeout = 0.1 if whose == "client" else None
        call = server.prediction.Predict(make_request(x=[[1.0]]), timeout=timeout)
        code, _ = await get_error(call)
        assert code == "DEADLINE_EXCEEDED"
        while server.core.in_flight:  # the client may know earlier than the server
            await asyncio.sleep(0.01)
        go_on.set()

    run_grpc(test, timeout=0.1 if whose == "server" else 30)


def test_an_error_that_the_client_does_not_wait_for(run_grpc):
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
        service = _PredictionService(server.core)
        with pytest.raises(asyncio.CancelledError):
            await service.Predict(make_request(x=[[1.0]]), Gone())

    said = []
    run_grpc(test)
    assert said == [("DEADLINE_EXCEEDED", "There was no answer after 0 s.")]


async def send_nothing(channel, metadata=()):
    """Begin calls that send no message; return how each ended."""
    method = "/tensorflow.serving.PredictionService/Predict"
    calls = [channel.stream_unary(method)(metadata=metadata) for _ in range(3)]
    return [(await call.code()).name for call in calls]


def test_strangers_are_refused_before_they_send_anything(run_grpc):
    async def test(server):
        async with asyncio.timeout(10):
            assert set(await send_nothing(server.channel)) == {"UNAUTHENTICATED"}

    run_grpc(test, token="secret", timeout=3600)


def test_a_message_that_does_not_come_is_late(run_grpc):
    async def test(server):
        metadata = [("authorization", "Bearer secret")]
        codes = await send_nothing(server.channel, metadata)
        assert set(codes) == {"DEADLINE_EXCEEDED"}

    run_grpc(test, token="secret", timeout=0.5)


def test_a_client_that_goes_away(run_grpc):
    async def test(server):
        go_on = hold_up(server.core)
        first = server.prediction.Predict(make_request(x=[[1.0]]))
        while not server.core.in_flight or server.core.room.waiting:  # it is being run
            await asyncio.sleep(0.01)
        gone = server.prediction.Predict(make_request(x=[[2.0]]))
        while server.core.in_flight < 2:
            await asyncio.sleep(0.01)
        gone.cancel()
        while server.core.in_flight > 1:
            await asyncio.sleep(0.01)
        assert server.core.room.waiting == 0
        go_on.set()
        await first
        return server.core.metrics.render()[0].decode()

    page = run_grpc(test)
    # Of two requests one was run.
    labels = 'model_name="toy",signature="serving_default"'
    assert f"batch_size_sum{{{labels}}} 1.0" in page
    assert 'status="CANCELLED"} 1.0' in page


def test_metadata(run_grpc):
    async def test(server):
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = "toy"
        for field in ("", "other"):
            request.metadata_field[:] = [field] if field else []
            code, message = await get_error(server.prediction.GetModelMetadata(request))
            assert code == "INVALID_ARGUMENT" and "must be 'signature_def'" in message
        request.metadata_field[:] = ["signature_def"]
        answer = await server.prediction.GetModelMetadata(request)
        assert answer.model_spec.version.value == 2
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        found = signatures.signature_def["serving_default"]
        assert found.method_name == "tensorflow/serving/predict"
        assert found.inputs["x"].dtype == tf.float32.as_datatype_enum
        assert [d.size for d in found.inputs["x"].tensor_shape.dim] == [-1, -1]

    run_grpc(test)


def test_status(run_grpc):
    async def test(server):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "toy"
        answer = await server.model.GetModelStatus(request)
        states = [(s.version, s.state) for s in answer.model_version_status]
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        assert states == [(2, available), (1, available)]
        assert answer.model_version_status[0].status.error_code == 0
        request.model_spec.version.value = 7
        code, message = await get_error(server.model.GetModelStatus(request))
        assert code == "NOT_FOUND" and "no version 7" in message

    run_grpc(test)


def test_what_is_not_implemented(run_grpc):
    async def test(server):
        for call, request in (
            (server.prediction.Classify, classification_pb2.ClassificationRequest()),
            (
                server.model.HandleReloadConfigRequest,
                model_management_pb2.ReloadConfigRequest(),
            ),
        ):
            code, message = await get_error(call(request))
            assert code == "UNIMPLEMENTED" and "Predict" in message

    run_grpc(test)


def test_reflection(run_grpc):
    """What `grpcurl` asks: which services there are, and what their methods take."""

    async def test(server):
        stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        symbol = "tensorflow.serving.PredictionService"
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol),
        ]
        listed, described = [
            answer async for answer in stub.ServerReflectionInfo(iter(requests))
        ]
        names = {service.name for service in listed.list_services_response.service}
        assert {symbol, "tensorflow.serving.ModelService"} <= names
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in described.file_descriptor_response.file_descriptor_proto
        ]
        services = {service.name: service for file in files for service in file.service}
        methods = {method.name for method in services["PredictionService"].method}
        assert {"Predict", "GetModelMetadata"} <= methods

    run_grpc(test)


@pytest.mark.parametrize(
    ("header", "is_let_in"),
    [
        (None, False),
        ("Bearer secret", True),
        ("bearer  secret", True),
        ("Bearer other", False),
        ("Basic secret", False),
        ("Bearer", False),
        ("secret", False),
    ],
)
def test_tokens(run_grpc, header, is_let_in):
    async def test(server):
        metadata = (("authorization", header),) if header else ()
        stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        list_all = reflection_pb2.ServerReflectionRequest(list_services="")

        async def reflect():
            call = stub.ServerReflectionInfo(iter([list_all]), metadata=metadata)
            return [answer async for answer in call]

        calls = (
            server.prediction.Predict(make_request(x=[[1.0]]), metadata=metadata),
            reflect(),
        )
        for call in calls:
            if is_let_in:
                await call
            else:
                code, message = await get_error(call)
                assert code == "UNAUTHENTICATED" and "token" in message

    run_grpc(test, token="secret")


def test_a_defect_shows_nothing_of_itself(run_grpc, caplog):
    async def test(server):
        def fail(*_):
            raise RuntimeError("a secret of /etc")

        server.core.models.find = fail
        return await get_error(server.prediction.Predict(make_request(x=[[1.0]])))

    code, message = run_grpc(test)
    assert code == "INTERNAL" and "secret" not in message and "log" in message


# Tensors: TensorFlow's own functions are the other implementation.

TYPES = (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64",
)  # fmt: skip
STRINGS = np.array([[b"a\0", b""], [b"x" * 300, bytes(range(256))]], object)


def decode(proto, most_bytes=1 << 30):
    return decode_inputs({"x": proto}, most_bytes)["x"]


def make(kind, shape, **fields):
    proto = tensor_pb2.TensorProto(dtype=kind, **fields)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


def sample(name):
    values = np.random.default_rng(0).uniform(0, 100, (4, 3))
    return values.astype(tf.as_dtype(name).as_numpy_dtype)


@pytest.mark.parametrize("name", TYPES)
def test_numbers_there_and_back(name):
    array = sample(name)
    for proto in (encode_output(array), tf.make_tensor_proto(array)):
        np.testing.assert_array_equal(tf.make_ndarray(proto), array)
        decoded = decode(proto)
        assert decoded.dtype == array.dtype
        np.testing.assert_array_equal(decoded, array)


def test_strings_and_empty_arrays_there_and_back():
    for array in (STRINGS, STRINGS[:0], np.zeros((0, 3), np.float32)):
        np.testing.assert_array_equal(tf.make_ndarray(encode_output(array)), array)
        assert decode(encode_output(array)).shape == array.shape
    whole = np.empty((), object)
    whole[()] = b"a\0"
    assert decode(encode_output(whole)).item() == b"a\0"


def test_fields_are_those_of_tf_serving():
    # Clients of TF Serving read `outputs["y"].float_val`.
    for values, field in (
        (np.float32([1.5, -2]), "float_val"),
        (np.float64([1.5, -2]), "double_val"),
        (np.int32([3, -4]), "int_val"),
        (np.uint8([3, 255]), "int_val"),
        (np.int64([3, -4]), "int64_val"),
        (np.array([True, False]), "bool_val"),
        (np.array([b"a", b"b"], object), "string_val"),
    ):
        assert list(getattr(encode_output(values), field)) == values.tolist()


def test_large_answers_are_written_soon():
    # All maps of an X-ray at full size.
    array = np.random.default_rng(0).random((1, 256, 256, 14), np.float32)
    start = time.perf_counter()
    assert len(encode_output(array).float_val) == array.size
    assert time.perf_counter() - start < 2


def test_a_last_value_is_repeated():
    # As documented for the fields: a tensor's last value fills what is missing.
    array = decode(make(1, [2, 2], float_val=[1, 2]))
    np.testing.assert_array_equal(array, [[1, 2], [2, 2]])
    np.testing.assert_array_equal(decode(make(1, [2])), [0, 0])
    assert list(decode(make(7, [3], string_val=[b"a", b"b"]))) == [b"a", b"b", b"b"]
    assert decode(make(1, [0, 3])).shape == (0, 3)
    assert decode(make(3, [], int_val=[5])).shape == ()


MALFORMED = [
    make(1, [3], tensor_content=bytes(11)),
    make(1, [2], float_val=[1, 2, 3]),
    make(1, [-1], float_val=[1]),
    make(1, [1 << 40], float_val=[1]),
    make(1, [1 << 62, 1 << 62]),
    make(1, [1 << 62, 1 << 62, 0]),
    make(1, [0, 1 << 62]),
    make(18, [1 << 60, 0]),
    make(7, [0, 1 << 61]),
    make(7, [1 << 40]),
    make(7, [3]),
    make(7, [1000], string_val=[bytes(10_000)]),
    make(7, [1], string_val=[b"a", b"b"]),
    make(7, [2], tensor_content=b"\x05\x01abc"),
    make(1, [1] * 100, float_val=[1]),
    make(7, [1] * 40, string_val=[b"a"]),
    make(0, [1]),
    make(20, [1]),
    make(21, [1]),
    make(101, [1]),
    make(9999, [1]),
    tensor_pb2.TensorProto(),
]
MALFORMED[-1].tensor_shape.unknown_rank = True


@pytest.mark.parametrize("place", range(len(MALFORMED)))
def test_malformed_tensors(place):
    with pytest.raises(ServingError, match="The tensor 'x' is") as error:
        decode(MALFORMED[place], 1_000_000)
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


def test_claims_take_no_memory():
    tracemalloc.start()
    for proto in (make(1, [250_001]), make(7, [1000], string_val=[bytes(1000)])):
        with pytest.raises(ServingError):
            decode(proto, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_all_inputs_together_are_bounded():
    protos = {name: make(1, [100], float_val=[1]) for name in "abc"}
    assert decode_inputs(protos, 1200).keys() == {"a", "b", "c"}
    with pytest.raises(ServingError, match="large"):
        decode_inputs(protos, 1199)


def test_random_protos_are_read_or_refused():
    rng = np.random.default_rng(0)
    arrays = [sample(name) for name in TYPES]
    whole = [encode_output(array) for array in [*arrays, STRINGS]]
    whole += [tf.make_tensor_proto(array) for array in arrays]
    outcomes = set()
    for _ in range(3000):
        content = bytearray(whole[rng.integers(len(whole))].SerializeToString())
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        try:
            proto = tensor_pb2.TensorProto.FromString(bytes(content))
        except DecodeError:
            continue
        try:
            assert decode(proto, 100_000).nbytes <= 100_000
            outcomes.add("read")
        except ServingError as error:
            assert error.code == grpc.StatusCode.INVALID_ARGUMENT
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
