"""There and back again: an archive gives an X-ray and gets its results."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from highdicom.sr import ComprehensiveSR
from pydicom import dcmread

from keras_mscam.dicom_results import write_results
from keras_mscam.images.reader import read_grey
from keras_mscam.inference.predictor import Predictor
from keras_mscam.phantom import write_phantoms

from ..conftest import find_free_port, load_script
from .conftest import make_dataset, to_bytes

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SCRIPT = Path(__file__).parents[2] / "experiments" / "orthanc" / "round_trip.py"
EVERYTHING = (("application/dicom", "*"),)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """Start Orthanc on a free port of the loopback interface; return its DICOMweb."""
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("needs orthanc and orthanc-dicomweb, of Debian's packages")
    folder = tmp_path_factory.mktemp("orthanc")
    port = find_free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["Orthanc", folder / "orthanc.json"], stdout=log, stderr=log, cwd=folder
        )
    try:
        client = DICOMwebClient(f"http://127.0.0.1:{port}/dicom-web")
        wait_for(client, process, folder / "log")
        yield client
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(client, process, log):
    deadline = time.monotonic() + 20
    while True:
        try:
            return client.search_for_studies()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Orthanc doesn't start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run.path)


@pytest.fixture(scope="module")
def script():
    return load_script(SCRIPT)


@pytest.fixture
def phantom(tmp_path):
    write_phantoms(tmp_path, 1, size=(80, 120), workers=1, progress=False)
    return read_grey(next(tmp_path.rglob("*.png")))


def find_instances(client, study):
    """Return the modality of every instance under a study, by its identifiers."""
    return {
        tuple(item[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")):
        item["00080060"]["Value"][0]
        for item in client.search_for_instances(study, fields=["Modality"])
    }  # fmt: skip


def check_round_trip(client, script, predictor, pixels, study):
    source = make_dataset(
        pixels,
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.1",
        SpecificCharacterSet="ISO_IR 192",
        PatientName="\u5c71\u7530^Jos\u00e9",
    )
    client.store_instances([source])
    assert script.round_trip(client, predictor, "small", study) == (1, 0)

    found = find_instances(client, study)
    expected = predictor.predict(pixels)
    overlays = len(expected.positives)
    assert overlays >= 1
    assert sorted(found.values()) == ["DX", *["OT"] * overlays, "SR"]
    for identifiers, modality in found.items():
        got = client.retrieve_instance(*identifiers, media_types=EVERYTHING)
        assert got.PatientName == source.PatientName
        if modality == "OT":
            assert got.pixel_array.shape == (*pixels.shape, 3)
        if modality == "SR":
            check_probabilities(got, expected)
    # Sent again, the archive holds them once.
    assert script.round_trip(client, predictor, "small", study) == (1, 0)
    assert find_instances(client, study) == found


def check_probabilities(report, expected):
    content = ComprehensiveSR.from_dataset(report).content
    told = [
        group.get_measurements()[0].value / 100
        for group in content.get_image_measurement_groups()
    ]
    np.testing.assert_allclose(told, list(expected.probabilities.values()), atol=1e-3)
    regions = [g.roi.value for g in content.get_planar_roi_measurement_groups()]
    assert len(regions) == len(expected.boxes)
    for region, box in zip(regions, expected.boxes, strict=True):
        np.testing.assert_allclose(region[[0, 2]].ravel(), box.xyxy, atol=1e-3)


def test_results_of_a_phantom_are_found_under_its_study(
    orthanc, script, predictor, phantom
):
    check_round_trip(
        orthanc, script, predictor, phantom, "1.2.826.0.1.3680043.8.498.20"
    )


def test_results_of_a_real_xray_are_found_under_its_study(
    orthanc, script, predictor, shared
):
    path = sorted((shared / "chestxray14-sample").rglob("*.png"))[0]
    pixels = read_grey(path)
    check_round_trip(orthanc, script, predictor, pixels, "1.2.826.0.1.3680043.8.498.21")


def test_what_cannot_be_predicted_is_counted_and_the_rest_goes_on(
    orthanc, script, predictor, phantom, capsys
):
    study = "1.2.826.0.1.3680043.8.498.22"
    good = make_dataset(
        phantom, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.1",
    )  # fmt: skip
    bad = make_dataset(
        cv2.resize(phantom, (64, 64)), StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.2",
        PhotometricInterpretation="UNHEARD OF",
    )  # fmt: skip
    orthanc.store_instances([good, bad])
    assert script.round_trip(orthanc, predictor, "small", study) == (1, 1)
    told = capsys.readouterr().out
    assert "refused" in told and "unknown kind" in told
    assert "Doe" not in told


def test_what_is_stored_is_what_was_written(orthanc, predictor, phantom, tmp_path):
    study = "1.2.826.0.1.3680043.8.498.23"
    source = make_dataset(phantom, StudyInstanceUID=study, SOPInstanceUID=f"{study}.1")
    prediction = predictor.predict(phantom)
    paths = write_results(
        prediction, to_bytes(source), phantom, tmp_path / "out", "x", "small"
    )
    written = [dcmread(path) for path in paths]
    orthanc.store_instances(written)
    for dataset in written:
        got = orthanc.retrieve_instance(
            study, dataset.SeriesInstanceUID, dataset.SOPInstanceUID,
            media_types=EVERYTHING,
        )  # fmt: skip
        assert got == dataset
