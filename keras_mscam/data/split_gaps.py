"""What a split says nothing of: no image, no known label, one class, few images."""

from collections.abc import Mapping

from keras_mscam.data.manifest import Split

#: From so many images, or boxes, on a number is taken to say something.
FEW = 10
#: What a split is for, and what it can't do where it has none, and where it has few.
_USES = {
    "train": ("nothing of them can be learned", "little of them can be learned"),
    "validation": (
        "no threshold and no calibration of them can be found",
        "thresholds and calibration of them are uncertain",
    ),
    "test": (
        "their classification can't be measured",
        "their classification is measured with much uncertainty",
    ),
}


def describe_gaps(
    split: str,
    positives: Mapping[str, int],
    negatives: Mapping[str, int],
    use: str | None = None,
) -> tuple[str, ...]:
    """Say which pathologies a split has too few labels of, a sentence a kind.

    `positives` and `negatives` are images with and without each pathology; those of
    unknown label are neither. `use` is what the split is for, which its name says by
    default.

    Example:
        >>> describe_gaps("test", {"Mass": 0}, {"Mass": 40})
        ("The test split has no image with Mass: their classification can't be ...",)
    """
    without, with_few = _USES[use or split]
    kinds = {"no known label of": [], "no image with": [], "no image without": []}
    few = []
    for name, positive in positives.items():
        negative = negatives[name]
        if not positive and not negative:
            kinds["no known label of"].append(name)
        elif not positive:
            kinds["no image with"].append(name)
        elif not negative:
            kinds["no image without"].append(name)
        elif min(positive, negative) < FEW:
            few.append(f"{name} ({min(positive, negative)})")
    said = [
        f"The {split} split has {kind} {', '.join(names)}: {without}."
        for kind, names in kinds.items()
        if names
    ]
    if few:
        said.append(
            f"The {split} split has fewer than {FEW} images with, or without, "
            f"{', '.join(few)}: {with_few}."
        )
    return tuple(said)


def describe_missing_boxes(split: str, boxes: Mapping[str, int]) -> tuple[str, ...]:
    """Say which pathologies a split has too few ground-truth boxes of."""
    none = [name for name, count in boxes.items() if not count]
    few = [f"{name} ({count})" for name, count in boxes.items() if 0 < count < FEW]
    said = []
    if none and len(none) == len(boxes):
        said.append(
            f"The {split} split has no ground-truth box: localization can't be "
            "measured."
        )
    elif none:
        said.append(
            f"The {split} split has no ground-truth box of {', '.join(none)}: their "
            "localization can't be measured."
        )
    if few:
        said.append(
            f"The {split} split has fewer than {FEW} ground-truth boxes of "
            f"{', '.join(few)}: their localization is measured with much uncertainty."
        )
    return tuple(said)


def describe_split_gaps(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """Say what the labels of those splits that hold images say nothing of."""
    return sum(
        (
            describe_gaps(name, split.positives, _count_negatives(split))
            for name, split in splits.items()
            if split.images
        ),
        (),
    )


def _count_negatives(split: Split) -> dict[str, int]:
    """Count images without each pathology; all of them where none shows it."""
    counts = {}
    for name, prevalence in split.prevalence.items():
        positive = split.positives[name]
        known = round(positive / prevalence) if prevalence else split.images
        counts[name] = 0 if prevalence is None else known - positive
    return counts


def knows_a_label(split: Split) -> bool:
    """Whether a single label of a split is known: without, its loss is always 0."""
    return any(prevalence is not None for prevalence in split.prevalence.values())
