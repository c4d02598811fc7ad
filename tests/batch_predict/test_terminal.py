from keras_mscam.batch_predict.index import describe_result

RESULT = {
    "path": "a/1.dcm",
    "status": "read",
    "original_size": [60, 40],
    "probabilities": {"Mass": 0.25, "Pleural_Thickening": 1.0},
    "positives": ["Pleural_Thickening"],
    "warnings": ["It is lateral."],
    "boxes": [
        {"pathology": "Pleural_Thickening", "xyxy": [1.6, 2, 30, 40], "score": 0.5}
    ],
}

THRESHOLDS = {"Mass": None, "Pleural_Thickening": 0.0625}


def test_table():
    assert describe_result(RESULT, THRESHOLDS).splitlines() == [
        "a/1.dcm, 60 x 40 pixels",
        "",
        "It is lateral.",
        "",
        "                    probability  threshold",
        "Pleural Thickening        1.000      0.062  ####################  positive",
        "Mass                      0.250      never  #####",
        "",
        "Box of                left     top   right  bottom   score",
        "Pleural Thickening       2       2      30      40   0.500",
    ]


def test_millimetres():
    box = RESULT["boxes"][0] | {"millimetres": {"width": 12.3, "height": 4.0}}
    assert "0.500   12 x 4 mm" in describe_result(RESULT | {"boxes": [box]}, THRESHOLDS)


def test_positive_without_a_box():
    lines = describe_result(RESULT | {"boxes": []}, THRESHOLDS).splitlines()
    assert lines[-1] == "No box of Pleural Thickening: no place stands out."


def test_path_that_is_no_text():
    """A name may hold what a terminal would obey, and bytes that no one can print."""
    lines = describe_result(RESULT | {"path": "ü \x1b[2J\n\udcff.png"}, THRESHOLDS)
    assert lines.splitlines()[0] == r"ü \x1b[2J\n\udcff.png, 60 x 40 pixels"
    lines.encode()


def test_refused():
    line = {"path": "x", "status": "refused", "error": "is empty"}
    assert describe_result(line, {}) == "x is empty."
