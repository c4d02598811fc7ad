"""What is in an export, of what it was made, and how well it met the Keras model."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.exporting.parity import LOOSE_TOLERANCES, TOLERANCES, Parity
from keras_mscam.files import compute_checksum

FORMAT = "keras_mscam export 1"
_NAME = "manifest.json"


def write_manifest(export: Path, model: str, environment: dict, measured: dict) -> None:
    """Write `manifest.json` into an export, when all other files are there.

    Args:
        export: the folder of a version.
        model: SHA-256 of the Keras model that it was made of.
        environment: versions, platform and commit.
        measured: further entries, of `describe_parities` or `describe_variants`.
    """
    content = {
        "format": FORMAT,
        "model": model,
        "environment": environment,
        **measured,
        "checksums": {
            str(path.relative_to(export)): compute_checksum(path)
            for path in _list_files(export)
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    find_manifest(export).write_text(text + "\n")


def find_manifest(export: Path) -> Path:
    """Return the path of the manifest; a SavedModel keeps it among its assets."""
    extra = Path(export) / "assets.extra"
    return (extra if extra.is_dir() else Path(export)) / _NAME


def describe_parities(parities: dict[str, Parity]) -> dict:
    """Return the entry on a SavedModel.

    Args:
        parities: `"whole"`, of images that every resampler makes alike, `"odd"`, of
            others, and `"run"`, of the run's own, where it has some.
    """
    return {
        "parity": {
            name: {
                **asdict(parity),
                "boxes": parity.boxes if np.isfinite(parity.boxes) else None,
                "tolerances": LOOSE_TOLERANCES if name == "odd" else TOLERANCES,
            }
            for name, parity in parities.items()
        }
    }


def describe_variants(variants: dict, calibration: str, test: str) -> dict:
    """Return the entries on the variants of another format.

    Args:
        variants: `Variant` by name.
        calibration: what scales of 8-bit maps are taken from, in words.
        test: what was compared, in words.
    """
    return {
        "calibration": calibration,
        "compared_on": test,
        "variants": {name: asdict(variant) for name, variant in variants.items()},
    }


def verify_files(export: Path, files: Iterable[Path]) -> None:
    """Compare files with the checksums that they were exported with.

    A network with a flipped bit still runs, and what it says may be anything. Files
    without a manifest, or that it doesn't know, are let pass: they may be a person's
    own, taken elsewhere with nothing but the contract.

    Args:
        export: the folder of a version.
        files: in it.

    Raises:
        UserError: one has changed, or the manifest can't be read.
    """
    path = find_manifest(export)
    if not path.is_file():
        return
    try:
        checksums = dict(json.loads(path.read_text())["checksums"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); export the run again."
        ) from error
    for file in files:
        known = checksums.get(str(file.relative_to(export)))
        if known not in (None, compute_checksum(file)):
            raise UserError(
                f"{file} has changed since it was exported; copy it anew, or export "
                "the run again."
            )


def list_variant_files(path: Path) -> list[Path]:
    """Return the files of a variant, of which one is given."""
    if path.name == "model.json":
        return sorted(path.parent.iterdir())
    return sorted(path.parent.glob(f"{path.stem}.*"))


def _list_files(export: Path) -> list[Path]:
    files = sorted(path for path in export.rglob("*") if path.is_file())
    return [path for path in files if path != find_manifest(export)]
