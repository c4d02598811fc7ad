"""A contact sheet of planted lesions, and one of real ones, to be compared by eye."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from keras_mscam.data.chestxray14 import read_chestxray14
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.pathologies import BOXED_PATHOLOGIES
from keras_mscam.phantom import sample_visit
from keras_mscam.phantom.backgrounds import read_backgrounds
from keras_mscam.phantom.patients import Finding, sample_size
from keras_mscam.phantom.plant import plant_lesions

import cv2
import numpy as np
import tyro

_YELLOW, _GREEN = (0, 255, 255), (0, 255, 0)
_REAL_COLUMNS = 4  # pairs of pictures in a row of the sheet of real lesions


@dataclass(frozen=True)
class Options:
    """Draw planted lesions, one row a pathology, and real ones beside them."""

    backgrounds: tuple[Path, ...]
    """Folders of X-rays without findings."""
    output: Path
    """Folder for planted.png, lungs.png and, with --real, real.png."""
    real: Path | None = None
    """ChestX-ray14 folder with boxes, for comparison."""
    size: tuple[int, int] = (192, 192)
    """Height and width that the lesions are planted at."""
    columns: int = 4
    """Lesions in a row."""
    zoom: float = 1.5
    """Enlargement in the sheet."""
    seed: int = 0
    """Of backgrounds, lesions and positions."""


def draw_planted(options: Options, backgrounds: list) -> np.ndarray:
    """One row a pathology: picture, the same with box, and so on."""
    rng = np.random.default_rng(options.seed)
    twice = 2 * options.size[0], 2 * options.size[1]
    rows = []
    for pathology in BOXED_PATHOLOGIES:
        row = []
        for column in range(options.columns):
            background = backgrounds[rng.integers(len(backgrounds))]
            finding = Finding(
                pathology,
                sample_size(rng, pathology),
                (column + 0.5) / options.columns,
                int(rng.choice((-1, 1))),
            )
            visit = sample_visit(options.seed, background.patient, len(rows))
            phantom = plant_lesions(
                resize_area(read_grey(background.path), twice),
                background.tracing,
                replace(visit, findings=(finding,)),
                options.size,
            )
            boxes = [lesion.box for lesion in phantom.lesions]
            text = f"{pathology} {finding.conspicuity:.1f}"
            row.append(draw_pair(phantom.image, boxes, text, options.zoom))
        rows.append(np.hstack(row))
    return np.vstack(rows)


def draw_real(options: Options, folder: Path) -> np.ndarray:
    """The boxed images of a folder, then those with an opacity box."""
    found = {r.name: r for r in read_chestxray14(folder).records}
    items = [(r, b.pathology, b.xyxy) for r in found.values() for b in r.boxes]
    opacities = folder / "RSNA_opacity_boxes.csv"
    if opacities.is_file():
        with opacities.open(newline="") as file:
            for name, *numbers in list(csv.reader(file))[1:]:
                x, y, width, height = map(float, numbers)
                items.append((found[name], "opacity", (x, y, x + width, y + height)))
    pairs = []
    for record, pathology, box in items:
        image = read_grey(record.path)
        ratio = np.array(options.size[::-1] * 2) / np.array(image.shape[::-1] * 2)
        image = resize_area(image, options.size)
        pairs.append(draw_pair(image, [box * ratio], pathology, options.zoom))
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % _REAL_COLUMNS)
    starts = range(0, len(pairs), _REAL_COLUMNS)
    return np.vstack([np.hstack(pairs[i : i + _REAL_COLUMNS]) for i in starts])


def draw_lungs(backgrounds: list) -> np.ndarray:
    """Every background with its contours, hila and heart."""
    tiles = []
    for background in backgrounds:
        image = resize_area(read_grey(background.path), (256, 256))
        tile = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        for outline in background.tracing.outlines:
            points = np.rint(outline).astype(int)
            cv2.polylines(tile, [points], True, _YELLOW, 1, cv2.LINE_AA)
        x1, y1, x2, y2 = (round(v) for v in background.tracing.heart)
        cv2.rectangle(tile, (x1, y1), (x2, y2), _GREEN)
        write_text(tile, background.path.stem)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
    return np.vstack([np.hstack(tiles[i : i + 8]) for i in range(0, len(tiles), 8)])


def draw_pair(image: np.ndarray, boxes: list, text: str, zoom: float) -> np.ndarray:
    """A picture beside the same picture with its boxes."""
    large = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    plain = cv2.cvtColor(large, cv2.COLOR_GRAY2BGR)
    boxed = plain.copy()
    for box in boxes:
        x1, y1, x2, y2 = (round(float(v) * zoom) for v in box)
        cv2.rectangle(boxed, (x1, y1), (x2 - 1, y2 - 1), _YELLOW)
    write_text(boxed, text)
    return np.hstack([plain, boxed])


def write_text(tile: np.ndarray, text: str) -> None:
    cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _GREEN, 1)


def main(options: Options) -> None:
    found = read_backgrounds(options.backgrounds, seed=options.seed, progress=True)
    backgrounds = [b for patient in found.patients for b in patient]
    print(f"{len(backgrounds)} backgrounds of {len(found.patients)} patients")
    for problem in found.problems:
        print(problem)
    sheets = {
        "planted.png": draw_planted(options, backgrounds),
        "lungs.png": draw_lungs(backgrounds),
    }
    if options.real is not None:
        sheets["real.png"] = draw_real(options, options.real)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, sheet in sheets.items():
        cv2.imwrite(str(options.output / name), sheet)


if __name__ == "__main__":
    main(tyro.cli(Options))
