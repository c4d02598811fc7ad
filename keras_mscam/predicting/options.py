"""What is made of each image."""

from dataclasses import dataclass
from typing import Literal

from keras_mscam.errors import UserError

Overlays = Literal["none", "top", "positive", "all"]


@dataclass(frozen=True)
class Options:
    """What is made of each image; results of other options don't go together.

    Args:
        overlays: of which pathologies pictures are drawn: of none, of the positive one
            of highest probability, of all positive ones, or of all.
        pathologies: names of those that may be positive or drawn; all if empty.
        longest_side: of pictures at most, in pixels.
        maps: whether maps are stored.
        html: whether reports and an index are written.
        dicom: whether results of DICOM files are written as DICOM too.
        crop_borders: whether uniform borders are cut off, see `read_xray`.
    """

    overlays: Overlays = "top"
    pathologies: tuple[str, ...] = ()
    longest_side: int = 512
    maps: bool = False
    html: bool = False
    dicom: bool = False
    crop_borders: bool = False

    def __post_init__(self):
        if self.longest_side < 1:
            raise UserError(
                f"The longest side must be 1 pixel or more, not {self.longest_side}."
            )

    @property
    def needs_picture(self) -> bool:
        """Whether the X-ray's pixels are needed once it is predicted."""
        return self.html or self.overlays != "none"

    @property
    def writes_files(self) -> bool:
        """Whether an image has files of its own."""
        return self.needs_picture or self.maps or self.dicom

    def choose(self, positives: tuple[str, ...], pathologies: tuple[str, ...]):
        """Return which pathologies are drawn.

        Args:
            positives: of an image, by falling probability.
            pathologies: of the model, in the order in which all are to be drawn.
        """
        wanted = self.pathologies or pathologies
        if self.overlays == "all":
            return tuple(name for name in pathologies if name in wanted)
        count = {"none": 0, "top": 1, "positive": None}[self.overlays]
        return tuple(name for name in positives if name in wanted)[:count]
