"""What a model card takes from a run's files, which anybody may have changed."""

import json

import pytest

from keras_mscam.configs.schema import Config
from keras_mscam.errors import UserError
from keras_mscam.exporting.model_card import write_model_card
from keras_mscam.inference.run_folder import Run

METRICS = {
    "split": "test", "images": 442,
    "classification": {"Mass": {"auroc": {"value": 0.625}}, "Effusion": {
        "auroc": {"value": None}}},
}  # fmt: skip


@pytest.fixture
def write(calibrated_model, tmp_path):
    """Write the card of a run with one file, and return its text."""

    def write(name, content):
        (tmp_path / name).write_text(json.dumps(content))
        card = tmp_path / "card.md"
        write_model_card(calibrated_model, Run(tmp_path, Config()), card)
        return card.read_text(encoding="utf-8")

    return write


def test_aurocs_are_those_of_the_run(write):
    rows = [line for line in write("metrics.json", METRICS).splitlines() if "|" in line]
    ends = {row.split(" | ")[0]: row.split(" | ")[-1] for row in rows}
    assert ends["| Mass"] == "0.625 |"
    # Undefined, and not evaluated.
    assert ends["| Effusion"] == ends["| Nodule"] == "none |"


@pytest.mark.parametrize("name", ["metrics.json", "source.json"])
@pytest.mark.parametrize(
    "content",
    [None, "x", [], {}, {"classification": []}, {**METRICS, "classification": {"a": 1}},
     {**METRICS, "classification": {"Mass": {"auroc": {"value": "high"}}}},
     {"file": "weights.pt"}],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence(write, name, content):
    with pytest.raises(UserError, match=rf"{name} is damaged; restore it"):
        write(name, content)
