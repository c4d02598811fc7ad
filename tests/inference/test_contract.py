import json

import pytest

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import FILE, read_contract

CONTENT = {
    "format": "keras_mscam contract 2",
    "name": "chest",
    "pathologies": ["Mass", "Nodule"],
    "blocks": [4],
    "image_size": [64, 96],
    "attention_size": [16, 24],
    "relevance_weights": [[1.0, 1.0]],
    "fusion_weights": [[1.0, 2.0]],
    "slopes": [1.0, 1.0],
    "intercepts": [0.0, 0.0],
    "probability_thresholds": [0.5, None],
    "normalization": "min_max",
    "map_scales": [1.0, 1.0],
    "shown_threshold": 0.5,
    "shown_min_area": 0.0,
    "shown_max_area": 1.0,
    "shown_max_boxes": 10,
}


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / FILE).write_text(text)
        return read_contract(tmp_path / "float32.onnx")

    return read


def test_what_is_written_is_read(read):
    contract = read(json.dumps(CONTENT))
    assert contract.output_names == ("probabilities", "cam_block4", "attention")
    assert read(contract.dump()) == contract


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"blocks": [3, 4]}, "relevance_weights must have 2 rows, one per block, of 2"),
        ({"fusion_weights": [[1.0]]}, "fusion_weights must have 1 rows"),
        ({"pathologies": ["Mass", "Mass"]}, "pathologies must each be there once"),
        ({"blocks": [4, 4]}, "blocks must each be there once"),
        ({"slopes": [1.0]}, "slopes must have 2 entries, one per pathology"),
        ({"probability_thresholds": [0.5]}, "probability_thresholds must have 2"),
        ({"shown_threshold": 1.0}, "shown_threshold: Input should be less than 1"),
        ({"shown_threshold": None}, "shown_threshold: Input should be a valid number"),
        ({"shown_max_area": 1.5}, "shown_max_area: Input should be less than or"),
        ({"shown_max_boxes": 0}, "shown_max_boxes: Input should be greater than or"),
        ({"normalization": "softmax"}, "normalization: Input should be 'min_max' or"),
        ({"image_size": [64]}, r"image_size\.1: Field required"),
        ({"colour": 3, "sound": 4}, "colour: Unexpected keyword argument"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(read, change, reason):
    sentence = (
        rf"\S+contract\.json is damaged \({reason}[^\n]*\); export the run again\."
    )
    with pytest.raises(UserError, match=f"^{sentence}$"):
        read(json.dumps({**CONTENT, **change}))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "is damaged"),
        ('{"format": ', "is damaged"),
        ("[]", "is of another format than 'keras_mscam contract 2'"),
        ("{}", "is of another format"),
        ('{"format": "keras_mscam contract 1"}', "is of another format"),
    ],
)
def test_what_is_no_contract_is_a_sentence(read, text, sentence):
    with pytest.raises(UserError, match=rf"contract\.json {sentence}"):
        read(text)


def test_no_contract_is_no_export(tmp_path):
    with pytest.raises(UserError, match=r"float32\.onnx is no export"):
        read_contract(tmp_path / "float32.onnx")
    with pytest.raises(UserError, match="1 is no export"):
        read_contract(tmp_path / "1")
