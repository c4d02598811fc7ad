"""The manifest of prepared records: what is in them, and how it came there."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.files import write_whole

_FORMAT = "keras_mscam records 1"


@dataclass(frozen=True)
class Split:
    """One split of a prepared set.

    Args:
        shards: file names, in the order of writing.
        images: number of images.
        patients: number of patients.
        positives: images that show each pathology.
        prevalence: fraction of positives among known labels; `None` without any.
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
        pathologies: names, the order of the labels in every record.
        image_size: `(height, width)` that images are stored at.
        split_rule: how patients were split.
        seed: of the split, and of the order of records in the shards.
        splits: by name: `train`, `validation`, `test`.
        beta: fraction of zeros of each pathology among the known labels of the
            training split, the loss's balance.
        rejected: number of images in `rejected.csv`.
        problems: what was odd about the source, a sentence each.
        versions: of the libraries that decoded and resized.
    """

    pathologies: tuple[str, ...]
    image_size: tuple[int, int]
    split_rule: str
    seed: int
    splits: dict[str, Split]
    beta: dict[str, float]
    rejected: int = 0
    problems: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write `manifest.json` into a folder."""
        content = {"format": _FORMAT, **asdict(self)}
        with write_whole(Path(directory) / "manifest.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read the manifest of a folder.

        Raises:
            UserError: there is none, it is damaged or of another format, or a shard
                that it names isn't there.
        """
        path = Path(directory) / "manifest.json"
        if not path.is_file():
            raise UserError(
                f"{directory} holds no prepared records: it has no manifest.json. "
                "keras_mscam-prepare makes them."
            )
        try:
            content = json.loads(path.read_text())
            if content.pop("format") != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT!r}")
            content["splits"] = {
                name: Split(**{**split, "shards": tuple(split["shards"])})
                for name, split in content["splits"].items()
            }
            for key in ("pathologies", "image_size", "problems"):
                content[key] = tuple(content[key])
            manifest = cls(**content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"Cannot read {path}: {error}") from error
        manifest._check_shards(path.parent)
        return manifest

    def _check_shards(self, directory: Path) -> None:
        for split in self.splits.values():
            for shard in split.shards:
                if not (directory / shard).is_file():
                    raise UserError(
                        f"{directory / shard} is missing; prepare the set again."
                    )
