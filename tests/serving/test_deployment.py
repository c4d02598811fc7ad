"""The files of export/serving hang together, and are what their readers expect."""

import http.server
import re
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from google.protobuf import wrappers_pb2 as wrappers
from tensorflow_serving.config import model_server_config_pb2

FOLDER = Path(__file__).parents[2] / "export" / "serving"

#: Of tensorflow_serving/model_servers/main.cc.
FLAGS = {
    "port",
    "rest_api_port",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "batching_parameters_file",
    "monitoring_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
}

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64, _BOOL, _STRING = "Int64Value", "BoolValue", "StringValue"
#: Name, number and type of the fields of BatchingParameters in
#: servables/tensorflow/session_bundle_config.proto, which no package contains.
BATCHING_FIELDS = [
    ("max_batch_size", 1, _INT64),
    ("batch_timeout_micros", 2, _INT64),
    ("max_enqueued_batches", 3, _INT64),
    ("num_batch_threads", 4, _INT64),
    ("thread_pool_name", 5, _STRING),
    ("allowed_batch_sizes", 6, None),
    ("pad_variable_length_inputs", 7, _FIELD.TYPE_BOOL),
    ("enable_large_batch_splitting", 8, _BOOL),
    ("max_execution_batch_size", 9, _INT64),
]


def make_messages():
    """Return BatchingParameters and MonitoringConfig of TF Serving."""
    file = descriptor_pb2.FileDescriptorProto(
        name="test_deployment.proto",
        package="test_deployment",
        syntax="proto3",
        dependency=[wrappers.DESCRIPTOR.name],
    )
    batching = file.message_type.add(name="BatchingParameters")
    for name, number, kind in BATCHING_FIELDS:
        field = batching.field.add(name=name, number=number, label=1)
        if kind is None:
            field.type, field.label = _FIELD.TYPE_INT64, _FIELD.LABEL_REPEATED
        elif isinstance(kind, str):
            field.type = _FIELD.TYPE_MESSAGE
            field.type_name = f".google.protobuf.{kind}"
        else:
            field.type = kind
    # config/monitoring_config.proto.
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=1, type=_FIELD.TYPE_BOOL)
    prometheus.field.add(name="path", number=2, label=1, type=_FIELD.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        label=1,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".test_deployment.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return [
        message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"test_deployment.{name}")
        )
        for name in ("BatchingParameters", "MonitoringConfig")
    ]


BATCHING, MONITORING = make_messages()


def read_models(text):
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(text, config).model_config_list.config


def check_labels(model):
    versions = list(model.model_version_policy.specific.versions)
    assert versions and set(model.version_labels.values()) <= set(versions)
    assert {"stable", "canary"} == set(model.version_labels)


def test_models():
    (model,) = read_models((FOLDER / "models.config").read_text())
    assert (model.name, model.base_path) == ("keras_mscam", "/models/keras_mscam")
    assert model.model_platform == "tensorflow"
    check_labels(model)


def test_models_of_the_guide():
    guide = (FOLDER / "README.md").read_text()
    examples = re.findall(r"```proto\n(.*?)```", guide, re.DOTALL)
    assert examples
    for example in examples:
        (model,) = read_models(example)
        assert model.base_path == "/models/keras_mscam"
        check_labels(model)


def test_batching():
    parameters = text_format.Parse((FOLDER / "batching.config").read_text(), BATCHING())
    # Checked when TF Serving starts: batching_session.cc and bundle_factory_util.cc.
    assert parameters.enable_large_batch_splitting.value
    most, at_once = parameters.max_batch_size, parameters.max_execution_batch_size
    assert 1 < at_once.value <= most.value
    assert parameters.num_batch_threads.value >= 1
    assert parameters.max_enqueued_batches.value >= parameters.num_batch_threads.value
    assert not parameters.allowed_batch_sizes
    # Padding would change images of different sizes.
    assert not parameters.pad_variable_length_inputs


@pytest.mark.parametrize(
    "text",
    ["max_batch_size: 3", "max_batch { value: 3 }", "max_batch_size { value: a }"],
)
def test_wrong_batching_would_be_found(text):
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text, BATCHING())


def test_monitoring():
    config = text_format.Parse((FOLDER / "monitoring.config").read_text(), MONITORING())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["serving"]


@pytest.fixture(scope="module")
def objects():
    documents = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    return {(item["kind"], item["metadata"]["name"]): item for item in documents}


@pytest.fixture(scope="module")
def pod(objects):
    return objects["Deployment", "keras-mscam"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (container,) = pod["containers"]
    return container


def test_one_image_and_the_same_flags(compose, container):
    assert compose["image"] == container["image"] == "tensorflow/serving:2.21.0"
    assert compose["platform"] == "linux/amd64"
    assert compose["entrypoint"] == container["command"]
    assert compose["command"] == container["args"]
    flags = dict(flag.removeprefix("--").split("=") for flag in container["args"])
    assert set(flags) == FLAGS
    for name in ("model_config_file", "batching_parameters_file"):
        assert (FOLDER / Path(flags[name]).name).is_file()
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    guide = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"tensorflow/serving:[\w.]+", guide)) == {container["image"]}


def test_compose(compose):
    assert compose["read_only"] is True
    user = int(compose["user"].split(":")[0])
    assert user > 0
    assert compose["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in compose["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in compose["ports"])
    mounts = {volume["target"]: volume for volume in compose["volumes"]}
    assert set(mounts) == {"/models", "/config"}
    assert all(volume["read_only"] is True for volume in mounts.values())
    assert mounts["/config"]["source"] == "."


def test_who_the_pod_is(pod, container):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_volumes(pod, container, objects):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert all(mount["readOnly"] is True for mount in mounts.values())
    models = volumes[mounts["/models"]["name"]]["persistentVolumeClaim"]
    assert ("PersistentVolumeClaim", models["claimName"]) in objects
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    config = volumes[mounts["/config"]["name"]]["configMap"]
    # Else the mounted name would have a hash behind it, and a change restart the pods.
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True
    assert config["name"] == generator["name"]
    assert kustomization["resources"] == ["kubernetes.yaml"]
    arguments = {Path(flag.split("=")[1]).name for flag in container["args"]}
    assert set(generator["files"]) <= arguments
    assert all((FOLDER / name).is_file() for name in generator["files"])


def test_probes(container):
    (model,) = read_models((FOLDER / "models.config").read_text())
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[name]["httpGet"]
        assert probe["port"] == "rest"
        _, _, kind, name, *rest = probe["path"].split("/")
        assert (kind, name) == ("models", model.name)
        assert not rest or rest == ["labels", "stable", "metadata"]
        assert "stable" in model.version_labels
    # A server that is busy, with its threads in predictions, must not be killed.
    liveness = container["livenessProbe"]
    readiness = container["readinessProbe"]
    patience = liveness["periodSeconds"] * liveness["failureThreshold"]
    assert patience > 2 * readiness["periodSeconds"] * readiness["failureThreshold"]


def test_the_end_of_a_pod_leaves_time_for_requests(pod, container):
    (command,) = [container["lifecycle"]["preStop"]["exec"]["command"]]
    flags = dict(flag.removeprefix("--").split("=") for flag in container["args"])
    seconds = int(command[1])
    assert command[0] == "sleep"
    assert int(flags["rest_api_timeout_in_ms"]) / 1000 < seconds
    assert seconds < pod["terminationGracePeriodSeconds"]


def test_resources(container, objects):
    requests, limits = (container["resources"][key] for key in ("requests", "limits"))
    assert requests["memory"] == limits["memory"]
    flags = dict(flag.removeprefix("--").split("=") for flag in container["args"])
    assert flags["tensorflow_intra_op_parallelism"] == limits["cpu"]
    scaler = objects["HorizontalPodAutoscaler", "keras-mscam"]["spec"]
    target = scaler["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "keras-mscam")
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    # The number of replicas has one owner.
    assert "replicas" not in objects["Deployment", "keras-mscam"]["spec"]


def test_selectors(objects, container):
    deployment = objects["Deployment", "keras-mscam"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    budget = objects["PodDisruptionBudget", "keras-mscam"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    names = {port["name"] for port in container["ports"]}
    services = [item for (kind, _), item in objects.items() if kind == "Service"]
    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
        # TF Serving asks nobody for a password.
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"


@pytest.mark.parametrize(
    ("state", "healthy"),
    [
        ('"AVAILABLE"', True),
        ('"LOADING"', False),
        ('"END", "code": "UNAVAILABLE"', False),
    ],
)
def test_health_check_of_compose(compose, state, healthy):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/v1/models/keras_mscam"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"state": %s}' % state.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kind, *command = compose["healthcheck"]["test"]
        assert kind == "CMD"
        command[-1] = command[-1].replace("8501", str(server.server_port))
        result = subprocess.run(command, timeout=10, check=False)
        server.shutdown()
    assert (result.returncode == 0) == healthy
