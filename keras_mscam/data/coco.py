"""Boxes in COCO's JSON, as annotation and evaluation tools read and write them."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import unquote

import pydantic

from keras_mscam.configs.schema import describe_invalid
from keras_mscam.data.csv_table import read_text
from keras_mscam.data.records import Box
from keras_mscam.errors import UserError
from keras_mscam.files import write_whole

_NO_BOX = (math.nan, math.nan, math.nan, math.nan)
_Size = Annotated[int, pydantic.Field(ge=0)]  # some tools write 0 for unknown


class Marked(NamedTuple):
    """A box on the image at position `image` of a list; `score` of predicted ones."""

    image: int
    pathology: str
    xyxy: tuple[float, float, float, float]
    score: float | None = None


def write_coco(
    path: Path,
    pathologies: Iterable[str],
    images: Iterable[tuple[str, tuple[int, int]]],
    boxes: Iterable[Marked],
    info: dict[str, str] | None = None,
) -> None:
    """Write images and boxes as COCO's JSON for object detection, one per line.

    First all images are taken, then all boxes, one by one: neither needs to be in
    memory. Numbers of images, pathologies and boxes are their positions, from 1 on.
    `file_name` and `bbox` (left, top, width, height) are in the original image's frame.

    Args:
        path: the file to write.
        pathologies: names of the categories.
        images: name and `(height, width)` in pixels of each.
        boxes: on which image, by its position from 0 on, and where.
        info: what the file says of itself.

    Reference:
        Lin et al. 2014 (COCO); https://cocodataset.org/#format-data
    """
    numbers = {name: number for number, name in enumerate(pathologies, 1)}
    categories = [
        {"id": number, "name": name, "supercategory": "pathology"}
        for name, number in numbers.items()
    ]
    listed = (
        {
            "id": number,
            "file_name": _to_text(name),
            "height": size[0],
            "width": size[1],
        }
        for number, (name, size) in enumerate(images, 1)
    )
    annotations = (
        _describe_box(number, box, numbers[box.pathology])
        for number, box in enumerate(boxes, 1)
    )
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        described = _to_text(json.dumps(info or {}, ensure_ascii=False))
        file.write(f'{{"info": {described},\n"licenses": [],\n')
        file.write(f'"categories": {json.dumps(categories)}')
        for key, items in (("images", listed), ("annotations", annotations)):
            file.write(f',\n"{key}": [')
            for position, item in enumerate(items):
                file.write(("," if position else "") + "\n" + json.dumps(item))
            file.write("]")
        file.write("}\n")


def _to_text(name: str) -> str:
    # Else one name that is no text would spoil the file for most readers.
    return name.encode(errors="replace").decode()


def _describe_box(number: int, box: Marked, category: int) -> dict:
    left, top, right, bottom = map(float, box.xyxy)
    width, height = right - left, bottom - top
    scored = {} if box.score is None else {"score": float(box.score)}
    return {
        "id": number,
        "image_id": box.image + 1,
        "category_id": category,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [],
        **scored,
    }


class _Image(pydantic.BaseModel):
    id: int | str
    file_name: str
    height: _Size | None = None
    width: _Size | None = None


class _Category(pydantic.BaseModel):
    id: int | str
    name: str


class _Annotation(pydantic.BaseModel):
    image_id: int | str
    category_id: int | str
    bbox: list[float] | None = None


class _Content(pydantic.BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def read_coco(path: Path) -> tuple[list[str], list[tuple[str, Box]]]:
    """Read the boxes of a COCO JSON file, as CVAT, Label Studio or FiftyOne write it.

    Returns:
        Names of all images; and each box with the name of its image, also those that
        can't be used: four NaN where there are no four numbers, `image 7` or
        `category 7` for a number that isn't listed.

    Raises:
        UserError: it can't be read, is no such JSON, or has two images or categories of
            one number.
    """
    try:
        content = _Content.model_validate_json(read_text(path))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise UserError(f"{path} is no JSON: {first['ctx']['error']}.") from error
        raise UserError(
            f"{path} isn't COCO's JSON, an object of images, categories and "
            f"annotations with a bbox: {_describe_first(error)}."
        ) from error
    images = _number(path, "images", content.images)
    categories = _number(path, "categories", content.categories)
    names = {number: _find_path(image.file_name) for number, image in images.items()}
    boxes = []
    for item in content.annotations:
        image, category = item.image_id, categories.get(item.category_id)
        pathology = category.name if category else f"category {item.category_id}"
        box = Box(pathology, _find_corners(item.bbox), _find_size(images.get(image)))
        boxes.append((names.get(image, f"image {image}"), box))
    return [*names.values()], boxes


def _describe_first(error: pydantic.ValidationError) -> str:
    sentence = describe_invalid(error).split("; ")[0].removeprefix(": ")
    return sentence if len(sentence) < 200 else f"{sentence[:200]}..."


def _number(path: Path, kind: str, items: list) -> dict:
    numbered = {item.id: item for item in items}
    if len(numbered) < len(items):
        raise UserError(f"{path} has two {kind} of one id; give each its own.")
    return numbered


def _find_path(file_name: str) -> str:
    """Return the path of an image, in place of which Label Studio has an address."""
    _, is_address, path = file_name.partition("/local-files/?d=")
    return unquote(path) if is_address else file_name


def _find_corners(bbox: list[float] | None) -> tuple[float, float, float, float]:
    if bbox is None or len(bbox) != 4:
        return _NO_BOX
    left, top, width, height = bbox
    return left, top, left + width, top + height


def _find_size(image: _Image | None) -> tuple[int, int] | None:
    if image is None or not (image.height and image.width):
        return None
    return image.height, image.width
