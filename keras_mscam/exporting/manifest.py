"""What is in an export, of what it was made, and how well it met the Keras model."""

import json
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


def verify_export(export: Path) -> int:
    """Compare every file of an export with its checksum.

    Returns:
        The number of files.

    Raises:
        UserError: a file is missing, changed or no part of the export.
    """
    path = find_manifest(export)
    try:
        checksums = json.loads(path.read_text())["checksums"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
    found = {str(p.relative_to(export)): p for p in _list_files(Path(export))}
    for name in sorted(checksums.keys() | found.keys()):
        if name not in found:
            raise UserError(f"{export} lacks its file {name}; export the run again.")
        if name not in checksums:
            raise UserError(f"{export} has a file that is no part of it: {name}.")
        if compute_checksum(found[name]) != checksums[name]:
            raise UserError(f"{found[name]} has changed; export the run again.")
    return len(found)


def _list_files(export: Path) -> list[Path]:
    files = sorted(path for path in export.rglob("*") if path.is_file())
    return [path for path in files if path != find_manifest(export)]
