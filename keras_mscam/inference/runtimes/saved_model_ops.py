"""Whether the graph of an export can do anything but compute."""

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from keras_mscam.errors import UserError

#: Operations with effects of which an export consists; whatever writes a file, prints,
#: or calls Python is declared in TensorFlow to have effects, too.
_STATEFUL = {
    "AssignVariableOp", "DatasetToSingleElement", "DisableCopyOnRead", "If",
    "ReadVariableOp", "RestoreV2", "StatefulPartitionedCall", "TensorSliceDataset",
    "VarHandleOp", "VarIsInitializedOp", "While",
}  # fmt: skip
#: Saves the variables again, which nothing asks for.
_SAVING = {"MergeV2Checkpoints", "SaveV2"}
_SAVER = "__inference__traced_save"
#: What has none by its declaration, and reads files or calls Python nevertheless.
_READING = {
    "CacheDataset", "CacheDatasetV2", "DebugNumericSummaryV2", "MatchingFiles",
    "PyFuncStateless", "ReadFile",
}  # fmt: skip
_STRING = 7  # DT_STRING


def check_operations(path: Path) -> None:
    """Refuse a SavedModel that could read or write files, or call Python.

    Args:
        path: the folder that holds `saved_model.pb`.

    Raises:
        UserError: it could, or can't be read.
    """
    file = path / "saved_model.pb"
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except (OSError, DecodeError) as error:
        raise UserError(f"{file} is damaged; copy it anew, or export again.") from error
    for graph in graphs:
        nodes = list(graph.graph_def.node)
        for function in graph.graph_def.library.function:
            if not _is_saver(function):
                nodes += function.node_def
                # Only the graph for older versions of TensorFlow may call the saver.
                calls = {
                    a.func.name for n in function.node_def for a in n.attr.values()
                }
                if any(name.startswith(_SAVER) for name in calls):
                    raise _refuse(file, "SaveV2")
            else:
                nodes += [n for n in function.node_def if n.op not in _SAVING]
        for node in nodes:
            definition = op_def_registry.get(node.op)
            is_stateful = definition is None or definition.is_stateful
            if node.op in _READING or (is_stateful and node.op not in _STATEFUL):
                raise _refuse(file, node.op)


def _is_saver(function) -> bool:
    """Whether it can only be called with the name of a file, not with an image."""
    arguments = function.signature.input_arg
    return (
        function.signature.name.startswith(_SAVER)
        and len(arguments) > 0
        and arguments[0].type == _STRING
    )


def _refuse(file: Path, operation: str) -> UserError:
    return UserError(
        f"{file} is refused: it has the operation {operation}, which no export of "
        "this package has. It may read or write files, or call code."
    )
