import dataclasses
import io

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import keras_mscam
from keras_mscam import Predictor
from keras_mscam.errors import UserError
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.images.grey_values import DARK, INVERTED
from keras_mscam.images.xray import Frame, XRay

FILES = [example.data for example in draw_examples((64, 96))]


@pytest.fixture(scope="module")
def of_export(exported):
    return Predictor(exported.parents[1])


@pytest.fixture(scope="module")
def of_run(run):
    return Predictor(run.path)


def test_a_run_and_its_export_say_the_same(of_run, of_export):
    for one, other in zip(
        of_run.predict_batch(FILES), of_export.predict_batch(FILES), strict=True
    ):
        assert one.pathologies == other.pathologies == ("Effusion", "Mass", "Nodule")
        assert one.original_size == other.original_size
        np.testing.assert_allclose(
            list(one.probabilities.values()), list(other.probabilities.values()),
            atol=1e-5,
        )  # fmt: skip
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)
        np.testing.assert_allclose(
            [box.xyxy for box in one.boxes], [box.xyxy for box in other.boxes], atol=0.1
        )
        assert one.boxes and set(one.cams) == set(other.cams) == {2, 3, 4}


def test_files_bytes_and_pixels_are_the_same(of_export, tmp_path):
    image = cv2.imdecode(np.frombuffer(FILES[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    (tmp_path / "chest.png").write_bytes(FILES[0])
    images = [
        tmp_path / "chest.png", str(tmp_path / "chest.png"), FILES[0], image,
        image[..., None], image.astype("uint16") * 256,
        bytearray(FILES[0]), memoryview(FILES[0]), io.BytesIO(FILES[0]),
        (tmp_path / "chest.png").open("rb"), tf.constant(image),
        PIL.Image.fromarray(image), PIL.Image.open(tmp_path / "chest.png"),
        PIL.Image.fromarray(image).convert("RGB"),
        PIL.Image.fromarray(image.astype("uint16") * 256),
    ]  # fmt: skip
    first, *others = of_export.predict_batch(images)
    for other in others:
        assert other.probabilities == pytest.approx(first.probabilities, abs=1e-6)


def test_grey_values_that_can_not_be_meant_are_said(of_export):
    chest = cv2.imdecode(np.frombuffer(FILES[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    twelve = chest.astype("uint16") * 16  # of 4095, in 16 bits
    png = cv2.imencode(".png", twelve)[1].tobytes()
    images = [chest, twelve, png, 255 - chest]
    said = [found.warnings for found in of_export.predict_batch(images)]
    assert said == [(), (DARK,), (DARK,), (INVERTED,)]
    # 16 v of 16 * 255 is v of 255.
    found = of_export.predict(png, max_value=16 * 255)
    expected = of_export.predict(chest)
    assert found.warnings == () and found.probabilities == expected.probabilities
    assert of_export.predict(png).probabilities != expected.probabilities


def test_what_can_not_be_read_says_so_and_fails_no_other(of_export, tmp_path):
    found = of_export.predict_batch(
        [tmp_path / "missing.png", FILES[0], b"x", np.zeros((3, 4, 5)), b""]
    )
    errors = [prediction.error for prediction in found]
    assert errors[0].startswith("cannot be opened")
    assert errors[1] is None and found[1].probabilities
    assert errors[2] == "is not a PNG, JPEG or DICOM image"
    assert "must be (height, width) of uint8 or uint16" in errors[3]
    assert errors[4] == "is empty"


def test_one_that_can_not_be_read_is_an_error(of_export, tmp_path):
    with pytest.raises(UserError, match=r"missing\.png cannot be opened"):
        of_export.predict(tmp_path / "missing.png")
    with pytest.raises(UserError, match="The image is not a PNG, JPEG or DICOM"):
        of_export.predict(b"junk")


def test_a_pillow_image_is_what_it_would_be_as_a_file(of_export, tmp_path):
    """Colour, alpha and palettes are read as `read_xray` says of files."""
    grey = cv2.imdecode(np.frombuffer(FILES[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    colour = np.stack([grey, np.flip(grey, 1), 255 - grey, grey // 2], axis=-1)
    image = PIL.Image.fromarray(colour)
    for mode in ("RGBA", "RGB", "LA", "P", "1"):
        image.convert(mode).save(tmp_path / "x.png")
        first, second = of_export.predict_batch(
            [image.convert(mode), tmp_path / "x.png"]
        )
        assert first.probabilities == second.probabilities
    # Black ink that is full on the left half leaves black and white.
    ink = np.zeros((*grey.shape, 4), np.uint8)
    ink[:, : grey.shape[1] // 2, 3] = 255
    halves = np.where(np.arange(grey.shape[1]) < grey.shape[1] // 2, 0, 255)
    halves = np.tile(halves.astype("uint8"), (len(grey), 1))
    first, second = of_export.predict_batch([PIL.Image.fromarray(ink, "CMYK"), halves])
    assert first.probabilities == second.probabilities


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([FILES[0]], "The image is of type list: it must be a PNG"),
        (None, "The image is of type NoneType: it must be"),
        (7, "The image is of type int: it must be"),
        ({"path": "x.png"}, "The image is of type dict: it must be"),
        (io.StringIO("x"), "open it with mode 'rb'"),
        (io.BytesIO(), "The image is empty"),
        (PIL.Image.new("F", (9, 9)), "cannot be opened: cannot write mode F as PNG"),
        (np.float32(3), r"must be \(height, width\) of uint8"),
        ("a\0b.png", "cannot be opened: embedded null"),
    ],
)
def test_what_is_no_image_is_a_sentence(of_export, image, message):
    with pytest.raises(UserError, match=message):
        of_export.predict(image)


def test_a_closed_file_is_a_sentence(of_export, tmp_path):
    (tmp_path / "x.png").write_bytes(FILES[0])
    with (tmp_path / "x.png").open("rb") as file:
        image = PIL.Image.open(file)
    for closed in (file, image):
        with pytest.raises(UserError, match=r"The image cannot be opened: .*closed"):
            of_export.predict(closed)


@pytest.mark.parametrize(
    "image", ["x.png", b"x", io.BytesIO(), np.zeros((9, 9), "uint8")]
)
def test_one_image_in_place_of_several(of_export, image):
    with pytest.raises(UserError, match="is a single one; predict_batch takes a list"):
        of_export.predict_batch(image)


def test_a_model_that_gives_nan_is_an_error_for_that_image_alone(
    of_export, monkeypatch
):
    run = of_export.runtime.run

    def overflow(images):
        outputs = {name: np.array(output) for name, output in run(images).items()}
        outputs["probabilities"][1, 0] = np.nan
        return outputs

    runtime = dataclasses.replace(of_export.runtime, run=overflow)
    monkeypatch.setattr(of_export, "runtime", runtime)
    first, second = of_export.predict_batch(FILES[:2])
    assert first.error is None and first.probabilities
    assert second.error == "has no probabilities: the model gives NaN for it"
    assert second.probabilities == {} and second.boxes == ()


def test_the_plane_of_millimetres_comes_through(of_export):
    pixels = cv2.imdecode(np.frombuffer(FILES[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    frame = Frame(pixels.shape, (0.2, 0.1), spacing_plane="detector")
    (found,) = of_export.predict_xrays([XRay(pixels, frame)])
    assert found.to_dict()["pixel_spacing"] == [0.2, 0.1]
    assert found.to_dict()["spacing_plane"] == "detector"
    assert of_export.predict(pixels).to_dict()["spacing_plane"] is None


def test_none_gives_none(of_export):
    assert of_export.predict_batch([]) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing", "There is no model at"), ("empty", "holds no exported model")],
)
def test_what_is_no_model_is_a_sentence(tmp_path, name, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        Predictor(tmp_path / name)


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = keras_mscam.Nothing
