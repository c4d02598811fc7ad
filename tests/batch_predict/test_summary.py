from collections import Counter

from keras_mscam.batch_predict.index import Summary


def test_sentences(tmp_path):
    summary = Summary(tmp_path, passed_over=Counter({".csv": 2, "hidden": 0}))
    said = {"path": "1.png", "status": "read", "warnings": ["It is lateral."]}
    summary.add(said | {"positives": ["Mass", "Pleural_Thickening"]})
    summary.add(said | {"positives": ["Mass"], "warnings": []})
    for _ in range(12):
        summary.add({"path": "2.png", "status": "refused", "error": "is empty"})
    summary.added, summary.seconds = 14, 70
    assert summary.describe().splitlines() == [
        "2 images read, 12 refused.",
        "Refused:",
        "  12  is empty",
        "Positive:",
        "  2  Mass",
        "  1  Pleural Thickening",
        "Warnings:",
        "  1  It is lateral.",
        "Passed over:",
        "  2  .csv",
        "14 files in 1 min 10 s, 0.2 a second.",
        f"Results: {tmp_path / 'predictions.csv'}",
    ]


def test_many_reasons(tmp_path):
    summary = Summary(tmp_path, refused=Counter({str(n): 20 - n for n in range(12)}))
    lines = summary.describe().splitlines()
    assert "  20  0" in lines and "   9  11" not in lines
    assert "  and 4 kinds more, see predictions.csv" in lines
