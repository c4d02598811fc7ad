"""The manifest of prepared records: what is in them, and how it came there."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
from tqdm import tqdm

from keras_mscam.data.records import Record
from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum, read_json, write_json

#: Changes whenever older readers couldn't read what is written.
FORMAT = "keras_mscam records 2"
_FILE = "manifest.json"


@dataclass(frozen=True)
class Split:
    """One split of a prepared set.

    Args:
        shards: file names, in the order of the records.
        images: number of images.
        patients: number of patients.
        positives: number of images labelled with each pathology.
        prevalence: fraction of positives among the known labels of each pathology;
            `None` without any.
    """

    shards: tuple[str, ...]
    images: int
    patients: int
    positives: dict[str, int]
    prevalence: dict[str, float | None]


@dataclass(frozen=True)
class Manifest:
    """Contents of `manifest.json` beside the shards.

    Args:
        pathologies: names, in the order of the labels in every record.
        image_size: (height, width) that images are stored at, in pixels; `None` where
            each has kept its own.
        split_rule: how patients were split.
        seed: of the split, and of the order of training records in the shards.
        splits: by name: `train`, `validation`, `test`.
        beta: fraction of zeros of each pathology among the known labels of the training
            split, for class-balanced losses.
        checksums: SHA-256 of every other file in the folder, by its name.
        sources: SHA-256 of the tables that were read, by their file names.
        rejected: number of images in `rejected.csv`.
        max_value: the grey value that was taken for white, see `images.read_xray`.
        problems: what was odd about the source, one sentence a kind.
        versions: of the packages that read, resized and wrote.
    """

    pathologies: tuple[str, ...]
    image_size: tuple[int, int] | None
    split_rule: str
    seed: int
    splits: dict[str, Split]
    beta: dict[str, float]
    checksums: dict[str, str]
    sources: dict[str, str]
    rejected: int = 0
    max_value: int | None = None
    problems: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write `manifest.json` into a folder."""
        write_json(Path(directory) / _FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read the manifest of a folder.

        Raises:
            UserError: there is none, or it is damaged, or of another program.
        """
        path = Path(directory) / _FILE
        try:
            content = read_json(path)
        except FileNotFoundError as error:
            raise UserError(
                f"{directory} has no {_FILE}; make prepared records with "
                f"keras_mscam-prepare SOURCE --output {directory}."
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path} can't be read: {error}.") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(
                f"{path} isn't in the format {FORMAT!r}; prepare the records again "
                "with this version of keras_mscam-prepare."
            )
        try:
            return pydantic.TypeAdapter(cls).validate_python(content)
        except pydantic.ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise UserError(
                f"{path} is damaged at {place!r}; prepare the records again."
            ) from error

    def shard_paths(self, directory: Path, split: str) -> list[Path]:
        """Return the shards of a split, in order, once their checksums are right.

        That takes a second for each GB or two, once while they stay as they are.
        TensorFlow might find damage only after hours, or not at all, if whole records
        are missing.

        Raises:
            UserError: there is no such split, or one of its shards is missing or has
                changed.
        """
        if split not in self.splits:
            raise UserError(
                f"{directory} has no split {split!r}, only {', '.join(self.splits)}."
            )
        paths = [Path(directory) / name for name in self.splits[split].shards]
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path} is missing; prepare the records again.")
            status = path.stat()
            checksum = _compute_once(path, status.st_size, status.st_mtime_ns)
            if checksum != self.checksums.get(path.name):
                raise UserError(
                    f"{path} isn't what its manifest says: it is damaged, or of other "
                    "records; restore it from a copy, or prepare the records again."
                )
        return paths


@lru_cache(maxsize=4096)
def _compute_once(path: Path, *stamp: int) -> str:
    return compute_checksum(path)


def summarize_splits(manifest: Manifest) -> str:
    """Return a table of sizes and prevalences, one column per split, as text."""
    columns = {
        name: {
            "images": f"{split.images:,}",
            "patients": f"{split.patients:,}",
            **{
                pathology: "unknown" if share is None else f"{share:.1%}"
                for pathology, share in split.prevalence.items()
            },
        }
        for name, split in manifest.splits.items()
    }
    return pd.DataFrame(columns).to_string()


def describe_split(
    records: Sequence[Record], pathologies: Sequence[str], shards: Sequence[str]
) -> Split:
    """Count the images, patients and labels of one split, for its entry in a manifest.

    Unknown labels (NaN) count nowhere.
    """
    labels = np.array([r.labels for r in records]).reshape(-1, len(pathologies))
    positives = (labels == 1).sum(axis=0).tolist()
    known = (~np.isnan(labels)).sum(axis=0).tolist()
    prevalence = [p / n if n else None for p, n in zip(positives, known, strict=True)]
    return Split(
        shards=tuple(shards),
        images=len(records),
        patients=len({record.patient for record in records}),
        positives=dict(zip(pathologies, positives, strict=True)),
        prevalence=dict(zip(pathologies, prevalence, strict=True)),
    )


def compute_beta(train: Split) -> dict[str, float]:
    """Return the fraction of zeros of each pathology among its known labels.

    `beta = 1 - prevalence`, after Sedai et al. 2018, section 2; one half, which
    balances nothing, without known labels.
    """
    return {
        name: 0.5 if prevalence is None else 1 - prevalence
        for name, prevalence in train.prevalence.items()
    }


def verify(directory: Path, progress: bool = True) -> Manifest:
    """Compare the files of a folder of prepared records with the manifest.

    Raises:
        UserError: the manifest can't be read, or files are missing or changed; the
            sentence says how many and names the first three.
    """
    directory = Path(directory)
    manifest = Manifest.read(directory)
    named = {name for split in manifest.splits.values() for name in split.shards}
    unlisted = sorted(named - manifest.checksums.keys())
    wrong = [f"{name} has no checksum" for name in unlisted]
    files = tqdm(
        manifest.checksums.items(), desc="Verifying", unit="file", disable=not progress
    )
    for name, checksum in files:
        try:
            if compute_checksum(directory / name) != checksum:
                wrong.append(f"{name} has changed")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            wrong.append(f"{name} can't be read ({reason})")
    if wrong:
        raise UserError(
            f"{directory} isn't what its manifest says: {len(wrong)} of "
            f"{len(manifest.checksums)} files differ: {', '.join(wrong[:3])}. "
            "Prepare the records again."
        )
    return manifest
