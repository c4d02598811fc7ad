"""The functions of an exported model: what each serving signature takes and gives."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_mscam.exporting.graph.decode_files import (
    Decoded,
    decode_images,
    resize_images,
)
from keras_mscam.exporting.graph.describe_values import describe_values
from keras_mscam.exporting.graph.map_boxes import extract_boxes, normalize_maps
from keras_mscam.exporting.graph.overlay_png import draw_overlays
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_positives
from keras_mscam.modeling.localizer import build_bilinear_matrix

_Outputs = dict[str, tf.Tensor]
_IMAGE_BYTES = tf.TensorSpec((None,), tf.string, name="image_bytes")
_CHOSEN = tf.TensorSpec((None,), tf.string, name="chosen")
#: Probability that no image has: the mark of one that can't be read.
UNREADABLE = -1.0
#: Of the names to show. Far more than there are, or 50 MB of commas would be a gigabyte
#: of names.
_MOST_NAMES_BYTES = 1000


class Signatures:
    """The serving signatures over a localizer, in TensorFlow's own operations.

    N images, C pathologies, B blocks, K boxes. Every signature gives `pathologies`,
    `probabilities` and `positives`, whether they reach their thresholds, `(N, C)`,
    `original_size` `(N, 2)`, `warnings` `(N,)`, sentences on odd grey values, a line
    each, and `error` `(N,)`: empty, or one sentence on an image that can't be read.
    Such an image fails no other; its probabilities are -1, its maps 0, and it has no
    box.

    Args:
        localizer: built by the contract.
        contract: names, sizes and thresholds.
    """

    def __init__(self, localizer: keras.Model, contract: Contract):
        self.contract = contract
        # Traced once, and shared by the signatures that call them.
        self._run = tf.function(
            lambda images: localizer(images, training=False),
            input_signature=[tf.TensorSpec((None, *contract.image_size, 1))],
            autograph=False,
        )
        self._describe = tf.function(describe_values, autograph=False)
        self._decode = tf.function(
            lambda image_bytes: decode_images(
                image_bytes, contract.image_size, contract.most_pixels
            ),
            input_signature=[_IMAGE_BYTES],
            autograph=False,
        )
        self._box_positives = tf.function(self._find_positives, autograph=False)

    def specify(self) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
        """Return function and inputs of every signature, the default first."""
        image = (None, None, None, 1)
        return {
            "serving_default": (self.serve, [_IMAGE_BYTES]),
            "boxes": (self.find_boxes, [_IMAGE_BYTES]),
            "probabilities": (self.classify, [_IMAGE_BYTES]),
            "heatmaps": (self.draw_heatmaps, [_IMAGE_BYTES]),
            "overlay": (self.draw_overlays, [_IMAGE_BYTES, _CHOSEN]),
            "tensor": (
                self.serve_tensor, [tf.TensorSpec(image, tf.float32, name="image")]
            ),
            "tensor_uint8": (
                self.serve_tensor, [tf.TensorSpec(image, tf.uint8, name="image")]
            ),
        }  # fmt: skip

    def serve(self, image_bytes: tf.Tensor) -> _Outputs:
        """Give everything: probabilities, maps, weights and boxes."""
        return self._give_all(self._decode(image_bytes))

    def serve_tensor(self, image: tf.Tensor) -> _Outputs:
        """Give everything on images that are decoded already, grey 0..255."""
        return self._give_all(self._take(image))

    def find_boxes(self, image_bytes: tf.Tensor) -> _Outputs:
        """Give probabilities and boxes, without a map."""
        decoded = self._decode(image_bytes)
        maps = self._localize(decoded)
        boxes = self._box_positives(decoded, maps)
        return {**boxes, **self._say(decoded, maps)}

    def classify(self, image_bytes: tf.Tensor) -> _Outputs:
        """Give probabilities alone, at the lowest cost."""
        decoded = self._decode(image_bytes)
        return self._say(decoded, self._localize(decoded))

    def draw_heatmaps(self, image_bytes: tf.Tensor) -> _Outputs:
        """Give normalized maps of all pathologies, `(N, height, width, C)` uint8."""
        decoded = self._decode(image_bytes)
        maps = self._localize(decoded)
        probabilities = maps["probabilities"]
        readable = probabilities != UNREADABLE
        heat = self._normalize(maps, tf.where(tf.ones_like(readable)))
        heat = tf.cast(tf.round(255 * heat), tf.uint8)
        shape = tf.concat([tf.shape(probabilities), self.contract.image_size], 0)
        heat = tf.transpose(tf.reshape(heat, shape), (0, 2, 3, 1))
        heat *= tf.cast(readable, tf.uint8)[:, None, None, :]
        return {"heatmaps": heat, **self._say(decoded, maps)}

    def draw_overlays(self, image_bytes: tf.Tensor, chosen: tf.Tensor) -> _Outputs:
        """Give PNGs of the X-ray under the heat map of each chosen pathology.

        `chosen` is empty for all positive ones, or holds names, parted by commas.
        """
        decoded = self._decode(image_bytes)
        wanted, unknown = self._find_names(chosen)
        decoded = decoded._replace(
            errors=tf.where(decoded.errors == "", unknown, decoded.errors)
        )
        maps = self._localize(decoded)
        probabilities = maps["probabilities"]
        blank = tf.strings.strip(chosen) == ""
        wanted = tf.where(blank[:, None], self._is_positive(probabilities), wanted)
        index = tf.where(wanted & (probabilities != UNREADABLE))
        images = tf.gather(decoded.images, index[:, 0])
        pictures = draw_overlays(images, *self._look(decoded, maps, index))
        overlays = tf.tensor_scatter_nd_update(
            tf.fill(tf.shape(probabilities), ""), index, pictures
        )
        return {"overlays_bytes": overlays, **self._say(decoded, maps)}

    def _take(self, image: tf.Tensor) -> Decoded:
        """Return images given as numbers as if they had been decoded."""
        shape = tf.shape(image)
        finite = tf.reduce_all(
            tf.math.is_finite(tf.cast(image, tf.float32)), axis=(1, 2, 3)
        )
        images = resize_images(image, self.contract.image_size)
        return Decoded(
            images=tf.where(finite[:, None, None, None], images, 0),
            sizes=tf.tile(shape[None, 1:3], (shape[0], 1)),
            errors=tf.where(finite, "", "has a value that isn't finite"),
        )

    def _give_all(self, decoded: Decoded) -> _Outputs:
        maps = self._localize(decoded)
        boxes = self._box_positives(decoded, maps)
        return {**maps, **boxes, **self._say(decoded, maps)}

    def _localize(self, decoded: Decoded) -> _Outputs:
        """Run the network; blank what it says of unreadable images."""
        readable = decoded.errors == ""
        count = tf.size(decoded.errors)
        # TensorFlow's convolutions fail on a batch of none: it gets one, cut off again.
        lacking = tf.maximum(1 - count, 0)
        images = tf.cast(decoded.images, tf.float32)
        images = tf.pad(images, [[0, lacking], [0, 0], [0, 0], [0, 0]])
        outputs = self._run(images)
        blanked = {}
        for name, values in outputs.items():
            values = values[:count]
            if name != "relevance_weights":
                blank = UNREADABLE if name == "probabilities" else 0.0
                kept = tf.reshape(readable, (-1,) + (1,) * (values.shape.rank - 1))
                values = tf.where(kept, values, blank)
            blanked[name] = values
        return blanked

    def _say(self, decoded: Decoded, maps: _Outputs) -> _Outputs:
        names = tf.constant([self.contract.pathologies])
        warnings = self._describe(decoded.images)
        return {
            "pathologies": tf.tile(names, (tf.size(decoded.errors), 1)),
            "probabilities": maps["probabilities"],
            "positives": self._is_positive(maps["probabilities"]),
            "original_size": decoded.sizes,
            "warnings": tf.where(decoded.errors == "", warnings, ""),
            "error": decoded.errors,
        }

    def _is_positive(self, probabilities: tf.Tensor) -> tf.Tensor:
        return find_positives(self.contract, probabilities)

    def _find_names(self, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return which pathologies are named, `(N, C)`, and what is no name, `(N,)`."""
        is_long = tf.strings.length(chosen) > _MOST_NAMES_BYTES
        chosen = tf.where(is_long, "", chosen)
        names = tf.strings.strip(tf.strings.split(chosen, ",").to_tensor(""))
        equal = names[:, :, None] == tf.constant(self.contract.pathologies)
        unknown = ~tf.reduce_any(equal, axis=2) & (names != "")
        first = unknown & (tf.cumsum(tf.cast(unknown, tf.int32), axis=1) == 1)
        name = tf.strings.reduce_join(tf.where(first, names, ""), axis=1)
        sentence = tf.strings.join(["was to show ", name, ", which the model lacks"])
        sentence = tf.where(tf.reduce_any(unknown, axis=1), sentence, "")
        sentence = tf.where(is_long, "was to show more than the model has", sentence)
        return tf.reduce_any(equal, axis=1), sentence

    def _find_positives(self, decoded: Decoded, maps: _Outputs) -> _Outputs:
        probabilities = maps["probabilities"]
        index = tf.where(self._is_positive(probabilities))
        _, _, boxes, scores = self._look(decoded, maps, index)
        scores *= tf.gather_nd(probabilities, index)[:, None]
        shape = tf.concat([tf.shape(probabilities), [self.contract.shown_max_boxes]], 0)
        index = tf.cast(index, tf.int32)
        return {
            "boxes": tf.scatter_nd(index, boxes, tf.concat([shape, [4]], 0)),
            "box_scores": tf.scatter_nd(index, scores, shape),
        }

    def _look(self, decoded: Decoded, maps: _Outputs, index: tf.Tensor):
        """Look where images show pathologies, by rows and columns in `(P, 2)`.

        Return normalized maps, sizes of the images that were sent, boxes in pixels of
        these, and mean heats.
        """
        heat = self._normalize(maps, index)
        contract = self.contract
        boxes, heats = extract_boxes(
            heat,
            contract.shown_threshold,
            contract.shown_min_area,
            contract.shown_max_area,
            contract.shown_max_boxes,
        )
        sizes = tf.gather(decoded.sizes, index[:, 0])
        scale = tf.cast(sizes, tf.float32) / np.array(contract.image_size, "float32")
        scale = tf.reverse(scale, axis=[1])  # x first
        return heat, sizes, boxes * tf.tile(scale, (1, 2))[:, None, :], heats

    def _normalize(self, maps: _Outputs, index: tf.Tensor) -> tf.Tensor:
        """Fuse and normalize the maps of images and pathologies, `(P, height, width)`.

        Only these are enlarged, and as one: see `AttentionMap`.
        """
        height, width = self.contract.image_size
        row, column = index[:, 0], index[:, 1]
        wide, enlarge = [], []
        for block, weights in zip(
            self.contract.blocks, self.contract.fusion_weights, strict=True
        ):
            cam = tf.transpose(maps[f"cam_block{block}"], (0, 3, 1, 2))
            small = tf.gather_nd(cam, tf.stack([row, column], axis=1))
            small *= tf.gather(tf.constant(weights, tf.float32), column)[:, None, None]
            wide.append(small @ build_bilinear_matrix(width, cam.shape[3]).T)
            enlarge.append(build_bilinear_matrix(height, cam.shape[2]))
        fused = np.concatenate(enlarge, axis=1) @ tf.concat(wide, axis=1)
        map_scales = tf.gather(
            tf.constant(self.contract.map_scales, tf.float32), column
        )
        return normalize_maps(fused, self.contract.normalization, map_scales)


def write_saved_model(localizer: keras.Model, contract: Contract, path: Path) -> None:
    """Write a SavedModel with every signature of the contract.

    What is written into the new folder `path` needs TensorFlow to run: neither Keras
    nor this package.
    """
    model = tf.Module()
    model.network_variables = [variable.value for variable in localizer.variables]
    signatures = {}
    for name, (function, inputs) in Signatures(localizer, contract).specify().items():
        traced = tf.function(function, input_signature=inputs, autograph=False)
        signatures[name] = traced.get_concrete_function()
    tf.saved_model.save(model, str(path), signatures)
