import pytest
from pydicom import Dataset, Sequence

from keras_mscam.images.dicom.frame import describe_view, find_view

CHEST = {"BodyPartExamined": "CHEST"}


def make(codes=(), regions=(), **elements):
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    for name, items in (("View", codes), ("AnatomicRegion", regions)):
        if items:
            sequence = []
            for value, scheme in items:
                item = Dataset()
                item.CodeValue, item.CodingSchemeDesignator = value, scheme
                sequence.append(item)
            keyword = "ViewCodeSequence" if name == "View" else f"{name}Sequence"
            setattr(dataset, keyword, Sequence(sequence))
    return dataset


@pytest.mark.parametrize(
    ("position", "view"),
    [
        ("PA", "frontal"),
        ("AP", "frontal"),
        ("AP ", "frontal"),
        ("LL", "lateral"),
        ("RL", "lateral"),
        ("LAT", "lateral"),
        ("LATERAL", "lateral"),
        ("RLO", "oblique"),
        ("LLD", "decubitus"),
        ("", ""),
        ("XYZ", ""),
    ],
)
def test_view_positions(position, view):
    assert find_view(make(ViewPosition=position)) == view


# PS3.16, CID 4010, and the same views in the older scheme.
@pytest.mark.parametrize(
    ("code", "view"),
    [
        (("272479007", "SCT"), "frontal"),
        (("R-10214", "SRT"), "frontal"),
        (("R-10206", "SNM3"), "frontal"),
        (("399173006", "SCT"), "lateral"),
        (("R-10236", "SRT"), "lateral"),
        (("R-10232", "SRT"), "lateral"),
        (("399182000", "SCT"), "oblique"),
        (("1", "99PRIVATE"), ""),
    ],
)
def test_view_codes(code, view):
    assert find_view(make(codes=[code])) == view


@pytest.mark.parametrize(
    ("orientation", "view"),
    [
        (["L", "F"], "frontal"),
        (["R", "F"], "frontal"),
        (["A", "F"], "lateral"),
        (["P", "F"], "lateral"),
        (["AL", "FP"], "lateral"),
        (["L", "P"], "axial"),
        (["", ""], ""),
        ("L", ""),
        (["L", "R"], ""),
    ],
)
def test_orientations(orientation, view):
    assert find_view(make(PatientOrientation=orientation)) == view


def test_the_order_of_trust():
    lateral = ("399173006", "SCT")
    frontal = {"PatientOrientation": ["L", "F"]}
    assert find_view(make(ViewPosition="PA", codes=[lateral])) == "frontal"
    assert find_view(make(ViewPosition="X", codes=[lateral], **frontal)) == "lateral"
    assert find_view(make(codes=[("1", "99X")], **frontal)) == "frontal"


def test_warnings_on_views():
    assert describe_view(make(ViewPosition="PA", **CHEST)) == []
    assert describe_view(make()) == []
    assert describe_view(make(ViewPosition="LL", **CHEST)) == [
        "The view is lateral; the model is for frontal views."
    ]
    assert describe_view(make(ViewPosition="LLD")) == [
        "The patient lay on one side (lateral decubitus)."
    ]


def test_warnings_on_turned_and_mirrored_images():
    mirrored = ["The image is mirrored or turned."]
    for orientation in (["R", "F"], ["L", "H"], ["F", "L"]):
        turned = make(ViewPosition="AP", PatientOrientation=orientation)
        assert describe_view(turned) == mirrored
    upright = make(ViewPosition="AP", PatientOrientation=["L", "F"])
    assert describe_view(upright) == []


def test_warnings_on_other_parts_without_their_names():
    other = ["It shows another part of the body than the chest."]
    assert describe_view(make(BodyPartExamined="HAND")) == other
    for chest in ("PORT CHEST", "TORAX", "BRUSTKORB", "THORAX AP"):
        assert describe_view(make(BodyPartExamined=chest)) == []
    for nothing in ("UNKNOWN", "OTHER", " "):
        assert describe_view(make(BodyPartExamined=nothing)) == []
    hand = make(BodyPartExamined="UNKNOWN", regions=[("85562004", "SCT")])
    assert describe_view(hand) == other
    assert describe_view(make(regions=[("51185008", "SCT")])) == []
    assert describe_view(make(regions=[("T-D3000", "SRT")])) == []
    assert describe_view(make(regions=[("85562004", "SCT")])) == other  # a hand
