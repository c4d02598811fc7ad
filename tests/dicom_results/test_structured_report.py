import highdicom.sr as sr
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes

from keras_mscam.dicom_results import structured_report as codes_of
from keras_mscam.dicom_results import write_results
from keras_mscam.dicom_results.structured_report import PLANES, SCHEME, code_pathology
from keras_mscam.inference.find_boxes import Box
from keras_mscam.pathologies import PATHOLOGIES

from .conftest import NAMES, make_dataset, make_prediction, to_bytes


@pytest.fixture
def report(tmp_path):
    """Return a function that writes a report and reads it again."""

    def write(source=None, **kwargs):
        prediction = make_prediction(**kwargs)
        pixels = make_dataset().pixel_array
        data = to_bytes(source or make_dataset())
        paths = write_results(prediction, data, pixels, tmp_path, "x", "phantom-1")
        return sr.srread(paths[0])

    return write


def tell(group):
    """Return a group's finding, its numbers and its answers, by their meanings."""
    numbers = {
        m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()
    }
    answers = {
        e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()
    }
    return group.finding_type.meaning, numbers, answers


def tell_comments(report):
    return [
        item.TextValue
        for item in report.content[0].ContentSequence
        if item.name == codes.DCM.Comment
    ]


def test_every_pathology_has_its_probability_and_which_side_of_the_threshold(report):
    groups = report().content.get_image_measurement_groups()
    # Of four decimals. The third has no threshold; .5 reaches .5.
    assert [tell(group) for group in groups] == [
        ("Pleural effusion", {"Probability": (87.65, "%")},
         {"Result at threshold": "Positive"}),
        ("Mass", {"Probability": (25.0, "%")}, {"Result at threshold": "Negative"}),
        ("Nodule", {"Probability": (10.0, "%")},
         {"Result at threshold": "Indeterminate"}),
        ("Pleural Thickening", {"Probability": (50.0, "%")},
         {"Result at threshold": "Positive"}),
    ]  # fmt: skip


def test_a_result_tells_its_threshold(report):
    thresholds = []
    for group in report().content.get_image_measurement_groups():
        (result,) = [
            item for item in group[0].ContentSequence if item.name == codes_of.RESULT
        ]
        numbers = result.get("ContentSequence", [])
        assert {item.RelationshipType for item in numbers} <= {"HAS PROPERTIES"}
        thresholds += [
            item.MeasuredValueSequence[0].NumericValue for item in numbers
        ] or [None]  # fmt: skip
    assert thresholds == [25, 50, None, 50]


def test_a_servers_answer_without_thresholds_has_probabilities_alone(report):
    groups = report(contract=None).content.get_image_measurement_groups()
    assert len(groups) == len(NAMES)
    assert all(tell(group)[2] == {} for group in groups)


def test_boxes_are_closed_lines_through_their_outer_corners(report):
    groups = report().content.get_planar_roi_measurement_groups()
    regions = [group.roi for group in groups]
    assert [region.graphic_type.value for region in regions] == ["POLYLINE"] * 2
    # (4, 10) to (24, 30), half-open: columns 4 to 23, of which 23 ends at 24.0.
    assert regions[0].value.tolist() == [[4, 10], [24, 10], [24, 30], [4, 30], [4, 10]]
    # All of the image: (0, 0) to (Columns, Rows), as table C.18.6-1 has it.
    assert regions[1].value.tolist() == [[0, 0], [40, 0], [40, 60], [0, 60], [0, 0]]


def test_no_corner_leaves_the_image_by_rounding(report):
    box = Box("Effusion", (-1e-6, 0.0, 40.00001, 60.00001), 0.5)
    (group,) = report(boxes=(box,)).content.get_planar_roi_measurement_groups()
    assert group.roi.value.min() == 0
    assert group.roi.value.max(axis=0).tolist() == [40, 60]


def test_boxes_tell_score_and_millimetres(report):
    groups = report().content.get_planar_roi_measurement_groups()
    # 20 columns of 0.1 mm, 20 rows of 0.2 mm.
    sizes = {"Box score": (75, "%"), "Width": (2.0, "mm"), "Height": (4.0, "mm")}
    assert tell(groups[0]) == ("Pleural effusion", sizes, {})


def test_no_millimetres_without_spacing(report):
    groups = report(pixel_spacing=None).content.get_planar_roi_measurement_groups()
    assert list(tell(groups[0])[1]) == ["Box score"]


def test_a_probability_is_inferred_from_the_part_that_was_looked_at(report):
    group = report(field=(2, 3, 30, 50)).content.get_image_measurement_groups()[0]
    (item,) = group.get_measurements()[0][0].ContentSequence
    assert item.RelationshipType == "INFERRED FROM"
    assert item.GraphicData == [2, 3, 30, 3, 30, 50, 2, 50, 2, 3]
    source = item.ContentSequence[0].ReferencedSOPSequence[0]
    assert source.ReferencedSOPInstanceUID == make_dataset().SOPInstanceUID


def test_report_belongs_to_the_study_and_cites_the_source(report):
    found, source = report(), make_dataset()
    assert found.StudyInstanceUID == source.StudyInstanceUID
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    (study,) = found.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == source.StudyInstanceUID
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert instance.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert instance.ReferencedSOPClassUID == source.SOPClassUID


def test_report_says_that_it_is_research_unverified_and_by_which_model(report):
    found = report(warnings=("It looks like a lateral view.",))
    assert found.VerificationFlag == "UNVERIFIED"
    assert found.CompletionFlag == "COMPLETE"
    assert found.PreliminaryFlag == "PRELIMINARY"
    comments = tell_comments(found)
    assert comments[0].startswith("Research software, not a medical device.")
    assert comments[1].startswith("A box holds a region of the heat map above 0.5")
    assert comments[2] == PLANES["detector"]
    assert comments[3:] == ["It looks like a lateral view."]
    (observer,) = found.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.model_name == "phantom-1"
    assert found.Manufacturer == "keras_mscam"


@pytest.mark.parametrize(
    ("plane", "words"),
    [
        ("patient", "at the patient, by calibration"),
        ("detector", "the shadow on the detector"),
        ("film", "the film that was scanned"),
        (None, "does not say"),
    ],
)
def test_a_report_says_where_its_millimetres_were_measured(report, plane, words):
    found = report(spacing_plane=plane)
    assert any(words in said for said in tell_comments(found))
    bare = tell_comments(report(spacing_plane=None, pixel_spacing=None))
    assert len(bare) == 2 and "Millimetres" not in "".join(bare)


def test_viewers_get_an_image_library_with_or_without_a_radiographs_geometry(report):
    bare = make_dataset(PatientOrientation=None, ImagerPixelSpacing=None)
    for source in (make_dataset(), bare):
        root = report(source).content[0]
        names = [item.name.meaning for item in root.ContentSequence]
        assert "Image Library" in names


def test_names_that_the_sources_characters_lack_are_spelled_out(report):
    names = ("Ergu\u00df", "\u6c14\u80f8", "a\\b/c", "x" * 80)
    groups = report(names=names, boxes=()).content.get_image_measurement_groups()
    found = [group.finding_type for group in groups]
    assert [code.meaning for code in found] == [
        "Ergu&#223;", "&#27668;&#33016;", "a/b/c", "x" * 64
    ]  # fmt: skip
    assert {code.scheme_designator for code in found} == {SCHEME}


def test_fourteen_pathologies_have_fourteen_concepts():
    coded = [code_pathology(name) for name in PATHOLOGIES]
    assert len({(code.scheme_designator, code.value) for code in coded}) == 14
    private = [code.meaning for code in coded if code.scheme_designator == SCHEME]
    assert private == ["Pleural Thickening"]


def test_long_names_that_begin_alike_have_concepts_of_their_own():
    """Nine letters, spelled out, take more than the 64 that a meaning may have."""
    one, other = ("\u6162" * 12 + end for end in "\u6025\u7a33")
    assert code_pathology(one).value != code_pathology(other).value
    assert code_pathology(one).meaning == ("&#24930;" * 8)


def test_private_scheme_is_described(report, tmp_path):
    report()
    (item,) = dcmread(tmp_path / "x.sr.dcm").CodingSchemeIdentificationSequence
    assert (item.CodingSchemeDesignator, item.CodingSchemeName) == (
        SCHEME,
        "keras_mscam",
    )
