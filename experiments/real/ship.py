"""Make the run that comes with the package of one that `teach.py` made.

    python experiments/real/ship.py RUN --boxed DIR

It goes to `keras_mscam/inference/pretrained`: the network, its calibration on all
patients of its set that it was not trained on, and a model card, `README.md`, with
numbers from the prepared records `--boxed`.
"""

import json
import shutil
import tempfile
from pathlib import Path

from keras_mscam.configs import PRESETS
from keras_mscam.errors import command
from keras_mscam.evaluation.calibration import calibrate_on
from keras_mscam.evaluation.evaluate_run import evaluate
from keras_mscam.evaluation.split_outputs import predict_split
from keras_mscam.files import compute_checksum, read_json, write_whole_folder
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_calibration import RunCalibration, write_calibration
from keras_mscam.inference.run_folder import PRETRAINED, Run, create_run, load_run

import jinja2
import tyro

CARD = Path(__file__).with_name("card.md.jinja")
#: Of the evaluation on real boxes: what the card of an export shows.
KEPT = ("split", "images", "patients", "classification", "auroc_mean")


def ship(run: tyro.conf.Positional[Path], boxed: Path) -> None:
    """Make the run of the package.

    Args:
        run: Folder that teach.py wrote.
        boxed: Records with ground-truth boxes, which run.py prepared.
    """
    source = load_run(run)
    protocol = PRESETS["paper-a-cnn-plus"].localization
    with tempfile.TemporaryDirectory() as folder:
        metrics = evaluate(
            run, data=boxed, protocol=protocol, output=Path(folder), report=False
        ).metrics
    calibration = calibrate_on_held_out(source)
    shutil.rmtree(PRETRAINED, ignore_errors=True)
    with write_whole_folder(PRETRAINED) as temporary:
        shipped = create_run(temporary, source.config)
        for path in (source.model_path, source.relevance_weights_path):
            shutil.copy(path, temporary)
        write_calibration(shipped.calibration_path, calibration)
        kept = {name: metrics[name] for name in KEPT}
        shipped.metrics_path.write_text(json.dumps(kept), encoding="utf-8")
        card = jinja2.Template(CARD.read_text(encoding="utf-8"))
        rows = describe(metrics, calibration)
        text = card.render(rows=rows, **describe_means(metrics, rows))
        (temporary / "README.md").write_text(text + "\n", encoding="utf-8")
        hide_machine(shipped.config_path)


def calibrate_on_held_out(run: Run) -> RunCalibration:
    """Calibrate on the splits for validation and for testing together."""
    classifier = load_classifier(run)
    splits = [
        predict_split(run, classifier, run.records, split)
        for split in ("validation", "test")
    ]
    return calibrate_on(splits, compute_checksum(run.model_path))


def describe(metrics: dict, calibration) -> list[dict]:
    """Return what the card says of each pathology."""
    return [
        {
            "name": name,
            "auroc": metrics["classification"][name]["auroc"],
            "threshold": calibration.operating_points[name].probability_threshold,
            "positives": calibration.operating_points[name].positives,
            **{
                system: read_accuracy(metrics, system, name)
                for system in ("attention", "block4", "mean_box")
            },
        }
        for name in metrics["pathologies"]
    ]


def read_accuracy(metrics: dict, system: str, name: str) -> dict:
    return metrics["localization"][system]["iou"]["0.3"][name]["accuracy"]


def describe_means(metrics: dict, rows: list[dict]) -> dict:
    count = len(rows)
    return {
        "auroc": metrics["auroc_mean"],
        **{
            f"mean_{system}": sum(row[system]["value"] for row in rows) / count
            for system in ("attention", "block4", "mean_box")
        },
    }


def hide_machine(path: Path) -> None:
    """Leave out of a configuration where it was trained, and where files lay."""
    content = read_json(path)
    del content["environment"]
    content["data"]["path"] = "chestxray14-weak"
    content["model"]["weights"] = None
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@command
def main() -> None:
    tyro.cli(ship)


if __name__ == "__main__":
    main()
