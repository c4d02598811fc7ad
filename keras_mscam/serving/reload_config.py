"""TF Serving's way to say which versions of running models are wanted."""

import grpc
from tensorflow_serving.config import (
    file_system_storage_path_source_pb2,
    model_server_config_pb2,
)

from keras_mscam.serving.errors import ServingError, refuse
from keras_mscam.serving.repository import ModelRepository
from keras_mscam.serving.versions import VersionPolicy


async def reload_config(
    repository: ModelRepository, config: model_server_config_pb2.ModelServerConfig
) -> None:
    """Take version policies and labels from a list of models; wait for the versions.

    Unlike TF Serving this server loads from no other folder than it was started with,
    and lets go of no model: who may predict should not choose what is executed.

    Args:
        repository: of the models.
        config: a `model_config_list`, with every model that is to change.

    Raises:
        ServingError: INVALID_ARGUMENT: it is no such list. UNIMPLEMENTED: it asks for
            another folder or platform. FAILED_PRECONDITION: a label is for a version
            that is not available; no label is changed then.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise refuse(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    models = {model.name: model for model in config.model_config_list.config}
    for model in models.values():
        _check(repository, model)
    for name, model in models.items():
        repository.policies[name] = _read_policy(model.model_version_policy)
    await repository.refresh()
    available = repository.list_available()
    for name, model in models.items():
        for version in model.version_labels.values():
            if version not in available[name]:
                raise ServingError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {name}, "
                    "which is not currently available for inference",
                )
    for name, model in models.items():
        repository.labels_by_model[name] = dict(model.version_labels)


def _check(
    repository: ModelRepository, model: model_server_config_pb2.ModelConfig
) -> None:
    folder = repository.models.get(model.name)
    is_same = folder is not None and model.base_path in ("", str(folder.resolve()))
    if not is_same or model.model_platform not in ("", "tensorflow"):
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            "This server takes version policies and labels of the models that it was "
            "started with, no other models, folders or platforms.",
        )


def _read_policy(
    policy: file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig,
) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=None)
    if choice == "specific":
        if not policy.specific.versions:
            raise refuse("A specific version policy names no version.")
        return VersionPolicy(specific=tuple(policy.specific.versions))
    return VersionPolicy(latest=max(policy.latest.num_versions, 1))
