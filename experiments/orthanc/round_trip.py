"""Fetch the chest X-rays of an archive by DICOMweb, predict them, store the results.

python experiments/orthanc/round_trip.py URL MODEL [--study StudyInstanceUID]
"""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_mscam import Predictor
from keras_mscam.dicom_results import write_results
from keras_mscam.errors import UserError, command
from keras_mscam.images.reader import read_xray
from keras_mscam.images.xray import ImageError

import tyro
from dicomweb_client import DICOMwebClient
from pydicom import dcmread

#: What X-rays call themselves; our own overlays are of modality OT.
MODALITIES = ("CR", "DX")


def round_trip(
    client: DICOMwebClient, predictor: Predictor, model: str, study: str | None = None
) -> tuple[int, int]:
    """Predict every X-ray of a study, or of all studies, and store the results.

    Results sent before are not stored twice, as they have the same identifiers.

    Args:
        client: of the archive.
        predictor: a model.
        model: its name.
        study: StudyInstanceUID; all by default.

    Returns:
        How many X-rays were predicted and how many were refused.
    """
    predicted = refused = 0
    for identifiers in find_xrays(client, study):
        dataset = client.retrieve_instance(
            *identifiers, media_types=(("application/dicom", "*"),)
        )
        source = io.BytesIO()
        dataset.save_as(source, enforce_file_format=True)
        try:
            stored = store_results(client, predictor, source.getvalue(), model)
        except UserError as error:
            refused += 1
            reason = f"it {error}" if isinstance(error, ImageError) else error
            print(f"X-ray {predicted + refused}: refused, {reason}")
            continue
        predicted += 1
        print(f"X-ray {predicted + refused}: {stored} results stored")
    return predicted, refused


def find_xrays(
    client: DICOMwebClient, study: str | None
) -> Iterator[tuple[str, str, str]]:
    """Yield the identifiers of study, series and instance of every X-ray (QIDO-RS)."""
    for modality in MODALITIES:
        filters = {"Modality": modality}
        for series in client.search_for_series(
            study, search_filters=filters, get_remaining=True
        ):
            parents = series["0020000D"]["Value"][0], series["0020000E"]["Value"][0]
            for instance in client.search_for_instances(*parents, get_remaining=True):
                yield *parents, instance["00080018"]["Value"][0]


def store_results(
    client: DICOMwebClient, predictor: Predictor, source: bytes, model: str
) -> int:
    """Predict one X-ray and store its report and overlays (STOW-RS); tell how many."""
    xray = read_xray(source)
    (prediction,) = predictor.predict_xrays([xray])
    with tempfile.TemporaryDirectory() as folder:
        paths = write_results(
            prediction, source, xray.pixels, Path(folder), "results", model
        )
        answer = client.store_instances([dcmread(path) for path in paths])
    if answer.get("FailedSOPSequence"):
        raise UserError("The archive does not take its results.")
    return len(paths)


def run(url: tyro.conf.Positional[str], model: tyro.conf.Positional[Path],
        study: str | None = None) -> None:  # fmt: skip
    """Predict the X-rays of an archive and store the results there.

    Args:
        url: of the archive's DICOMweb services, as http://localhost:8042/dicom-web
        model: a run, or an export of it.
        study: StudyInstanceUID; all studies by default.
    """
    client, predictor = DICOMwebClient(url), Predictor(model)
    try:
        predicted, refused = round_trip(client, predictor, model.name, study)
    except OSError as error:  # the archive's refusals, too
        raise UserError(f"The archive at {url} does not do it: {error}.") from error
    print(f"{predicted} X-rays predicted, {refused} refused.")


@command
def main() -> None:
    """Run from the command line."""
    tyro.cli(run)


if __name__ == "__main__":
    main()
