"""The client of both protocols against a real server, beside the Predictor."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_mscam import Predictor
from keras_mscam.errors import UserError
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.exporting.graph.signatures import write_saved_model
from keras_mscam.images.grey_values import DARK
from keras_mscam.inference.contract import FILE
from keras_mscam.serving import Client, ServiceError

from ..images.odd_files import READABLE, save_dicom

FILES = [example.data for example in draw_examples((64, 96))]
TURNED_JPEG = READABLE["JPEG with a rotation"]
PROTOCOLS = ("http", "grpc")


@pytest.fixture(scope="module")
def models(tmp_path_factory, calibrated_model):
    """A repository with an export that has nothing to warm it up."""
    folder = tmp_path_factory.mktemp("client")
    version = folder / "models" / "keras_mscam" / "1"
    write_saved_model(calibrated_model.localizer, calibrated_model.contract, version)
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / FILE).write_text(calibrated_model.contract.dump())
    return folder / "models"


@pytest.fixture(scope="module")
def predictor(models):
    return Predictor(models / "keras_mscam")


@pytest.fixture(scope="module")
def urls(models, start_command):
    """A server in a process of its own; its addresses by protocol."""
    options = ("--labels", "stable=1", "--max-request-bytes", "1000000")
    with start_command(models, *options) as (_, urls):
        yield urls


@pytest.fixture
def connect(urls):
    """Make a client of a protocol, which never tries again."""

    def connect(protocol, **options):
        return Client(urls[protocol], **{"token": "secret", "retries": 0} | options)

    return connect


def make_images(folder):
    """Return images in every form, two of which can't be read."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70), np.uint8)
    (folder / "chest.dcm").write_bytes(save_dicom(pixels))
    (folder / "chest.png").write_bytes(FILES[4])
    return [
        *FILES, folder / "chest.dcm", str(folder / "chest.png"), pixels,
        pixels.astype("uint16") * 256, TURNED_JPEG, b"junk", folder / "missing.png",
    ]  # fmt: skip


def assert_equal(one, other):
    # No server reads DICOM: the client turns it into PNG.
    local = other.error and other.error.replace("PNG, JPEG or DICOM", "PNG or JPEG")
    assert one.error == local
    assert one.pathologies == other.pathologies
    assert one.positives == other.positives
    assert one.original_size == other.original_size
    assert one.warnings == other.warnings
    assert one.corners == other.corners
    assert one.pixel_spacing == other.pixel_spacing
    assert one.spacing_plane == other.spacing_plane
    if one.error is not None:
        return
    # Of sizes that are no multiples of the network's, OpenCV and the graph may differ
    # by a grey level, and boxes in their place.
    is_odd = one.original_size[0] % 64 or one.original_size[1] % 96
    tolerance = 5e-3 if is_odd else 1e-5
    assert one.probabilities == pytest.approx(other.probabilities, abs=tolerance)
    np.testing.assert_allclose(one.attention, other.attention, atol=4 * tolerance)
    np.testing.assert_allclose(one.relevance_weights, other.relevance_weights)
    assert one.cams.keys() == other.cams.keys() == {2, 3, 4}
    for block, cam in one.cams.items():
        np.testing.assert_allclose(cam, other.cams[block], atol=4 * tolerance)
    if not is_odd:
        assert [box.pathology for box in one.boxes] == [
            b.pathology for b in other.boxes
        ]
        for box, same in zip(one.boxes, other.boxes, strict=True):
            assert box.xyxy == pytest.approx(same.xyxy, abs=0.1)
            assert box.score == pytest.approx(same.score, abs=1e-5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_answers_are_those_of_the_predictor(connect, predictor, tmp_path, protocol):
    images = make_images(tmp_path)
    expected = predictor.predict_batch(images)
    with connect(protocol) as client:
        found = client.predict_batch(images)
        one = client.predict(images[0])

    assert [p.error is None for p in found] == [True] * 11 + [False] * 2
    assert found[6].original_size == (50, 70)
    assert any(prediction.boxes for prediction in found)
    assert {p.original_size for p in found} >= {(64, 96), (50, 70)}
    for prediction, same in zip(found, expected, strict=True):
        assert_equal(prediction, same)
    assert_equal(one, expected[0])


def test_a_header_counts_as_it_does_for_the_predictor(connect, predictor):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192), np.uint8)
    pixels[:, :96] = 0
    file = save_dicom(
        pixels,
        CollimatorShape="RECTANGULAR",
        CollimatorUpperHorizontalEdge=33,  # rows and columns count from 1
        CollimatorLowerHorizontalEdge=96,
        CollimatorLeftVerticalEdge=97,
        CollimatorRightVerticalEdge=192,
        ImagerPixelSpacing=[0.2, 0.2],
        ViewPosition="LL",
    )
    expected = predictor.predict(file)
    assert expected.field == (96, 32, 192, 96) and len(expected.warnings) == 2
    assert expected.pixel_spacing == (0.2, 0.2) and expected.boxes
    for protocol in PROTOCOLS:
        with connect(protocol) as client:
            assert_equal(client.predict(file), expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dark_images_are_said_and_made_bright(connect, predictor, protocol):
    dark = np.random.default_rng(0).integers(0, 4096, (64, 96), np.uint16)
    with connect(protocol) as client:
        assert client.predict(dark).warnings == (DARK,)
        assert client.predict(dark, "boxes").warnings == (DARK,)
        bright = client.predict(dark, max_value=4095)
    assert bright.warnings == ()
    assert_equal(bright, predictor.predict(dark, max_value=4095))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_signatures_that_give_less(connect, predictor, protocol):
    expected = predictor.predict(FILES[0])
    with connect(protocol) as client:
        boxes = client.predict(FILES[0], "boxes")
        probabilities = client.predict(FILES[0], "probabilities")
    assert len(boxes.boxes) == len(expected.boxes) > 0
    assert boxes.attention is None and not boxes.cams
    assert probabilities.boxes == ()
    for prediction in (boxes, probabilities):
        assert prediction.probabilities == pytest.approx(expected.probabilities)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_at_once_get_their_own_answers(connect, predictor, protocol):
    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, rng.integers(20, 90, 2))) for _ in range(30)]
    images = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    expected = predictor.predict_batch(images)

    with connect(protocol) as client, ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda image: client.predict(image, "boxes"), images)
        for prediction, same, size in zip(found, expected, sizes, strict=True):
            assert prediction.original_size == size
            assert prediction.probabilities == pytest.approx(
                same.probabilities, abs=5e-3
            )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_versions_labels_and_names(connect, protocol):
    for choice in ({}, {"version": 1}, {"label": "stable"}):
        with connect(protocol, **choice) as client:
            assert client.predict(FILES[0], "probabilities").probabilities
    for choice, code, words in (
        ({"version": 7}, "NOT_FOUND", "7"),
        ({"label": "canary x"}, "INVALID_ARGUMENT", "the label 'canary x'"),
        ({"name": "other model"}, "NOT_FOUND", "other model"),
    ):
        with (
            connect(protocol, **choice) as client,
            pytest.raises(ServiceError, match=words) as error,
        ):
            client.predict(FILES[0])
        assert (error.value.code, error.value.may_pass) == (code, False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_wrong_token(connect, protocol, token):
    with (
        connect(protocol, token=token) as client,
        pytest.raises(ServiceError, match="token") as error,
    ):
        client.predict(FILES[0])
    assert (error.value.code, error.value.may_pass) == ("UNAUTHENTICATED", False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_can_not_be_read_is_an_error_of_the_user(connect, protocol):
    with connect(protocol) as client:
        with pytest.raises(UserError, match="The image is not a PNG or JPEG") as error:
            client.predict(b"junk")
        assert not isinstance(error.value, ServiceError)
        with pytest.raises(ServiceError) as error:
            client.call("nothing", image_bytes=[b"x"])
    assert error.value.code in ("FAILED_PRECONDITION", "INVALID_ARGUMENT")
    assert "nothing" in str(error.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.org"])
def test_a_name_that_no_host_can_have_is_a_sentence(protocol, host):
    client = Client(f"{protocol}://{host}:1", timeout=2, retries=0)
    with client, pytest.raises(ServiceError, match=re.escape(host)):
        client.call("f", x=np.zeros(1, "float32"))


@pytest.mark.parametrize("version", [-1, 2**63])
def test_no_version_has_such_a_number(version):
    with pytest.raises(UserError, match=f"no version {version} of"):
        Client("grpc://127.0.0.1:9", version=version)


@pytest.mark.parametrize("image", ["chest.png", FILES[0], np.zeros((9, 9), "uint8")])
def test_one_image_in_place_of_several(image):
    with pytest.raises(UserError, match="is a single one; predict_batch takes a list"):
        Client("http://127.0.0.1:9").predict_batch(image)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_that_is_too_large_is_not_tried_again(connect, protocol):
    with connect(protocol) as client, pytest.raises(ServiceError) as error:
        client.call("boxes", image_bytes=[bytes(2_000_000)])
    assert not error.value.may_pass
    assert "arger" in str(error.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_closed_client_opens_again(connect, protocol):
    client = connect(protocol)
    client.close()
    for _ in range(2):
        assert client.predict(FILES[0], "probabilities").probabilities
        client.close()
