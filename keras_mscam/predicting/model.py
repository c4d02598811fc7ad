"""The model of a prediction: which it is, and with which thresholds."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from keras_mscam import __version__
from keras_mscam.errors import UserError
from keras_mscam.exporting.contract import Contract
from keras_mscam.files import compute_checksum
from keras_mscam.predicting.journal import VERSION
from keras_mscam.predicting.options import Options
from keras_mscam.predictor import Predictor
from keras_mscam.runtimes.choice import find_models

#: One for all pathologies, or by name.
Thresholds = float | Mapping[str, float] | None


def load_predictor(
    path: str | os.PathLike, runtime: str, thresholds: Thresholds, options: Options
) -> Predictor:
    """Load a model, with other thresholds if need be.

    Args:
        path: see `Predictor`.
        runtime: see `Predictor`.
        thresholds: of probabilities, instead of the model's own.
        options: pathologies that aren't among theirs are never positive.

    Raises:
        UserError: the model can't be loaded, lacks a pathology, or a threshold isn't
            in [0, 1].
    """
    predictor = Predictor(path, runtime)
    contract = _change(predictor.runtime.contract, thresholds, options.pathologies)
    predictor.runtime = replace(predictor.runtime, contract=contract)
    return predictor


def describe_plan(
    path: str | os.PathLike, predictor: Predictor, options: Options
) -> dict:
    """Return what results depend on, for `open_folder`."""
    contract = predictor.runtime.contract
    never = (None,) * len(contract.pathologies)  # thresholds have a line of their own
    same = replace(contract, probability_thresholds=never)
    digest = hashlib.sha256(same.dump().encode())
    for file in _list_files(find_models(path)[predictor.runtime.name]):
        digest.update(compute_checksum(file).encode())
    thresholds = zip(contract.pathologies, contract.probability_thresholds, strict=True)
    return {
        "choice of thresholds or pathologies": dict(thresholds),
        "model": digest.hexdigest(),
        "runtime": predictor.runtime.name,
        VERSION: __version__,
        **{f"--{name.replace('_', '-')}": v for name, v in vars(options).items()},
    }


def name_model(path: str | os.PathLike, contract: Contract) -> str:
    """Return what tells a model from others of its name: where it lies.

    Example:
        >>> name_model("/data/runs/phantom-1", contract)
        'keras_mscam, runs/phantom-1'
    """
    return f"{contract.name}, {Path(*Path(path).absolute().parts[-2:])}"


def _change(
    contract: Contract, thresholds: Thresholds, pathologies: tuple[str, ...]
) -> Contract:
    if thresholds is None:
        thresholds = {}
    elif not isinstance(thresholds, Mapping):
        thresholds = dict.fromkeys(contract.pathologies, thresholds)
    for name in (*thresholds, *pathologies):
        if name not in contract.pathologies:
            raise UserError(
                f"The model has no pathology {name!r}; it has "
                f"{', '.join(contract.pathologies)}."
            )
    for name, value in thresholds.items():
        if not 0 <= value <= 1:
            raise UserError(
                f"The probability threshold of {name} must be from 0 to 1, not {value}."
            )
    own = zip(contract.pathologies, contract.probability_thresholds, strict=True)
    wanted = pathologies or contract.pathologies
    return replace(
        contract,
        probability_thresholds=tuple(
            thresholds.get(name, value) if name in wanted else None
            for name, value in own
        ),
    )


def _list_files(model: Path) -> list[Path]:
    """Return the files of a model that hold its weights and its graph."""
    if (model / "model.keras").is_file():
        return [model / "model.keras"]
    if model.is_dir():
        return sorted(path for path in model.rglob("*") if path.is_file())
    beside = model.with_suffix(".bin")  # of OpenVINO
    return [model, beside] if beside.is_file() else [model]
