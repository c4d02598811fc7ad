"""What loading has in common, whatever the library."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import FILE, Contract, read_contract_beside
from keras_mscam.inference.export_folder import list_variant_files, verify_files


def read_verified_contract(model: Path) -> Contract:
    """Read the contract beside a model, if both are as they were exported.

    Args:
        model: a file.

    Raises:
        UserError: there is no contract, or a file is damaged.
    """
    contract = read_contract_beside(model)
    verify_files(model.parent, [model.with_name(FILE), *list_variant_files(model)])
    return contract


def check_fit(
    path: Path,
    contract: Contract,
    inputs: Mapping[str, Sequence],
    outputs: Mapping[str, Sequence],
) -> None:
    """Refuse a model that is another than that of the contract beside it.

    Args:
        path: of the model, to name in errors.
        contract: names and sizes.
        inputs: shapes by name; a side that isn't known is no number.
        outputs: the same.

    Raises:
        UserError: it doesn't take the image of the contract, or doesn't give its
            outputs.
    """
    expected = [*contract.image_size, 1]
    if set(inputs) != {"image"} or list(inputs["image"][1:]) != expected:
        raise UserError(
            f"{path} isn't the model of its {FILE}, which says that it takes 'image' "
            f"of {expected}: it takes {_describe(inputs)}."
        )
    count = len(contract.pathologies)
    for name in contract.output_names:
        if name not in outputs or outputs[name][-1] != count:
            raise UserError(
                f"{path} isn't the model of its {FILE}, which says that it gives "
                f"{name!r} of {count} pathologies: it gives {_describe(outputs)}."
            )


def _describe(shapes: Mapping[str, Sequence]) -> str:
    return ", ".join(f"{name!r} of {list(sides[1:])}" for name, sides in shapes.items())


@contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """Say in one sentence that a file can't be loaded.

    Libraries raise what they like: `RuntimeError`, `ValueError`, classes of their own.

    Raises:
        UserError: the block failed.
    """
    try:
        yield
    except UserError:
        raise  # it is a sentence already
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} can't be loaded, it is damaged or of another version of the "
            f"format: {reason}"
        ) from error


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
