"""The recipes of docs/howto and of experiments/datasets, on files in exact layouts."""

import gzip
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_mscam.data.labels_csv import read_dataset
from keras_mscam.data.preparation import prepare
from keras_mscam.data.records import Box
from keras_mscam.data.splits import SplitRule, split_records
from keras_mscam.images.reader import read_grey

from ..images.odd_files import save_dicom

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "experiments" / "datasets" / "README.md").read_text()
NAN = np.nan


def find_code(heading):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Go to a folder; return a function that writes a file there."""
    monkeypatch.chdir(tmp_path)

    def write(path, data):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def draw(suffix=".png", dtype=np.uint8, value=128):
    return cv2.imencode(suffix, np.full((64, 48), value, dtype))[1].tobytes()


def draw_dicom():
    return save_dicom(np.arange(64 * 48).astype("uint8").reshape(64, 48))


def read_and_prepare(folder, pathologies, problems=()):
    """Read what a recipe wrote; every image of it must be readable."""
    dataset = read_dataset(Path(folder))
    assert dataset.pathologies == pathologies
    assert dataset.problems == problems
    output = Path("records")
    manifest = prepare(Path(folder), output, split="test", workers=1, progress=False)
    assert manifest.rejected == 0
    assert manifest.splits["test"].images == len(dataset.records)
    return dataset


CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,"
    "Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,"
    "Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)


def test_chexpert(place):
    name = "CheXpert-v1.0-small"
    images = [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00002/study2/view1_frontal.jpg",
        "train/patient00002/study1/view1_frontal.jpg",
        "train/patient00003/study1/view1_frontal.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
        "train/patient00002/study2/view2_lateral.jpg",
    ]
    for image in images:
        place(f"{name}/{image}", draw(".jpg"))
    uncertain = ",,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,"
    place(
        f"{name}/train.csv",
        CHEXPERT
        + f"{name}/{images[0]},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
        + f"{name}/{images[1]},Male,87,Frontal,PA,{uncertain}\n"
        + f"{name}/{images[5]},Male,87,Lateral,,{uncertain}\n"
        + f"{name}/{images[2]},Male,83,Frontal,AP,,,,1.0,,,-1.0,,,,,,1.0,\n"
        + f"{name}/{images[3]},Unknown,0,Frontal,AP,,,,,,1.0,,,,,,,,\n",
    )
    place(
        f"{name}/valid.csv",
        CHEXPERT + f"{name}/{images[4]},Male,73,Frontal,AP,"
        "0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n",
    )
    exec(find_code("CheXpert"), {})
    dataset = read_and_prepare(
        name,
        tuple(CHEXPERT.strip().split(",")[6:]),
        # The lateral one, in a folder that a frontal one is in.
        (f"1 image files without a label row, such as {name}/{images[5]}",),
    )
    first, second, *_, last = dataset.records
    assert [record.name for record in dataset.records] == images[:5]
    # Blank is not shown, -1 is unknown.
    np.testing.assert_array_equal(first.labels, [0] * 12 + [1])
    np.testing.assert_array_equal(
        second.labels, [0, NAN, 1, 0, NAN, NAN, 0, NAN, 0, NAN, 0, 1, 0]
    )
    np.testing.assert_array_equal(last.labels, [1, 1, 1] + [0] * 10)
    assert (second.patient, second.view, second.age, second.sex) == (
        "patient00002", "PA", 87, "M",
    )  # fmt: skip
    splits, _ = split_records(dataset, SplitRule("csv"))
    assert [record.name for record in splits["test"]] == images[4:5]
    assert len(splits["train"]) + len(splits["validation"]) == 4


def test_mimic_cxr_jpg(place):
    rows = [
        # Image, patient, study, view, split
        ("02aa804e-bde0afdd", "10000032", "50414267", "PA", "train"),
        ("174413ec-4ec4c1f7", "10000032", "50414267", "LATERAL", "train"),
        ("2a2277a9-b0ded155", "10000764", "57375967", "AP", "validate"),
        ("e084de3b-be89b11e", "11000898", "50771383", "AP", "test"),
        ("68b5c4b1-227d0485", "11000898", "54205396", "", "test"),
    ]
    metadata = (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,"
        "Rows,Columns,StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,"
        "ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning\n"
    )
    splits = "dicom_id,study_id,subject_id,split\n"
    for image, patient, study, view, split in rows:
        metadata += (
            f"{image},{patient},{study},CHEST (PA AND LAT),{view},3056,2544,21800506,"
            "213014.531,CHEST (PA AND LAT),postero-anterior,Erect\n"
        )
        splits += f"{image},{study},{patient},{split}\n"
        place(
            f"mimic-cxr-jpg/files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg",
            draw(".jpg"),
        )
    chexpert = (
        "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,"
        "Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,No Finding,"
        "Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices\n"
        "10000032,50414267,,,,,,,,,1.0,,,,,\n"
        "10000764,57375967,,,1.0,,,,,,,,,-1.0,,\n"
        "11000898,50771383,1.0,,,,,,,,,0.0,,,,\n"
    )
    for name, text in (
        ("metadata", metadata),
        ("split", splits),
        ("chexpert", chexpert),
    ):
        place(
            f"mimic-cxr-jpg/mimic-cxr-2.0.0-{name}.csv.gz", gzip.compress(text.encode())
        )
    exec(find_code("MIMIC-CXR-JPG"), {})
    names = chexpert.split("\n")[0].split(",")[2:]
    names.remove("No Finding")
    dataset = read_and_prepare(
        "mimic-cxr-jpg",
        tuple(names),
        (
            "1 image files without a label row, such as mimic-cxr-jpg/files/p10/"
            "p10000032/s50414267/174413ec-4ec4c1f7.jpg",
        ),
    )
    first, second, third = dataset.records
    assert first.name == "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg"
    assert (second.patient, second.view) == ("p10000764", "AP")
    np.testing.assert_array_equal(first.labels, [0] * 13)
    np.testing.assert_array_equal(second.labels, [0, 0, 1] + [0] * 7 + [NAN, 0, 0])
    np.testing.assert_array_equal(third.labels, [1] + [0] * 12)
    splits, _ = split_records(dataset, SplitRule("csv"))
    assert [splits[name] for name in ("train", "validation", "test")] == [
        [first], [second], [third],
    ]  # fmt: skip


VINDR = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,"
    "Consolidation,Edema,Emphysema,Enlarged PA,ILD,Infiltration,Lung Opacity,"
    "Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,"
    "Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,"
    "Lung tumor,Pneumonia,Tuberculosis,Other diseases,No finding"
)


def test_vindr_cxr(place):
    names = VINDR.split(",")[:-1]

    def write(shown, no_finding=""):
        values = ["1" if name in shown else "0" for name in names]
        return ",".join([*values, no_finding or "0"])

    train, test = "000434271f63a053c4128a0ba6352c7f", "002a34c58c5b758217ed1f584ccbcfe9"
    others = [f"{number:032d}" for number in range(2)]  # all digits, and zeros ahead
    votes = [
        f"{train},R10,{write(['Cardiomegaly', 'Nodule/Mass', 'Pneumonia'])}",
        f"{train},R8,{write(['Cardiomegaly', 'Nodule/Mass'])}",
        f"{train},R9,{write(['Cardiomegaly'])}",
        *(f"{other},R{n},{write([], '1')}" for other in others for n in range(3)),
    ]
    place(
        "vindr-cxr/annotations/image_labels_train.csv",
        "\n".join([f"image_id,rad_id,{VINDR}", *votes]),
    )
    place(
        "vindr-cxr/annotations/image_labels_test.csv",
        f"image_id,{VINDR.replace('Other diseases', 'Other disease')}\n"
        f"{test},{write(['Pleural effusion', 'Other diseases'])}\n",
    )
    header = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
    place(
        "vindr-cxr/annotations/annotations_train.csv",
        header
        + f"{train},R10,Cardiomegaly,5.0,6.5,20.25,30.0\n"
        + f"{others[0]},R1,No finding,,,,\n",
    )
    place(
        "vindr-cxr/annotations/annotations_test.csv",
        header.replace("rad_id,", "")
        + f"{test},Pleural effusion,1.5,2.0,20.0,30.0\n"
        + f"{test},Pleural effusion,25.0,2.0,40.0,30.0\n"
        + f"{test},No finding,,,,\n",
    )
    for image in (train, *others):
        place(f"vindr-cxr/train/{image}.dicom", draw_dicom())
    place(f"vindr-cxr/test/{test}.dicom", draw_dicom())
    exec(find_code("VinDr-CXR"), {})
    dataset = read_and_prepare("vindr-cxr", tuple(names))
    records = {record.patient: record for record in dataset.records}
    assert records.keys() == {train, test, *others}
    labels = dict(zip(names, records[train].labels, strict=True))
    # Three of three, two of three, one of three, none.
    assert (labels["Cardiomegaly"], labels["Nodule/Mass"]) == (1, 1)
    assert np.isnan(labels["Pneumonia"]) and labels["Edema"] == 0
    assert records[others[1]].labels == (0.0,) * 27
    shown = {n for n, v in zip(names, records[test].labels, strict=True) if v}
    assert shown == {"Pleural effusion", "Other diseases"}
    assert records[train].boxes == ()
    assert records[test].boxes == (
        Box("Pleural effusion", (1.5, 2.0, 20.0, 30.0)),
        Box("Pleural effusion", (25.0, 2.0, 40.0, 30.0)),
    )
    splits, _ = split_records(dataset, SplitRule("csv"))
    assert [record.patient for record in splits["test"]] == [test]


def test_chestx_det(place):
    # As in ChestX_Det_test.json, with shorter polygons.
    train = [
        {
            "file_name": "36346.png",
            "syms": ["Cardiomegaly", "Effusion", "Effusion"],
            "boxes": [[5, 4, 40, 51], [9, 6, 21, 48], [1, 40, 13, 60]],
            "polygons": [[[35, 49], [35, 50]], [[10, 7], [11, 9]], [[1, 40], [2, 41]]],
        },
        {"file_name": "36998.png", "syms": [], "boxes": [], "polygons": []},
        {"file_name": "36999.png", "syms": [], "boxes": [], "polygons": []},
    ]
    test = [
        {"file_name": "36199.png", "syms": [], "boxes": [], "polygons": []},
        {
            "file_name": "36331.png",
            "syms": ["Diffuse Nodule"],
            "boxes": [[3, 5, 33, 62]],
            "polygons": [[[36, 58], [36, 59]]],
        },
    ]
    for split, images in (("train", train), ("test", test)):
        place(f"ChestX-Det/ChestX_Det_{split}.json", json.dumps(images))
        for image in images[: 2 if split == "train" else None]:
            place(f"ChestX-Det/{split}_data/{split}/{image['file_name']}", draw())
    exec(find_code("ChestX-Det"), {})
    names = ("Cardiomegaly", "Diffuse Nodule", "Effusion")
    missing = "1 label rows without an image file, such as 36999.png"
    dataset = read_and_prepare("ChestX-Det", names, (missing,))
    first, other, second, third = dataset.records
    assert first.name == first.patient == "train_data/train/36346.png"
    assert [record.labels for record in dataset.records] == [
        (1, 0, 1), (0, 0, 0), (0, 0, 0), (0, 1, 0),
    ]  # fmt: skip
    assert first.boxes == (
        Box("Cardiomegaly", (5, 4, 40, 51)),
        Box("Effusion", (9, 6, 21, 48)),
        Box("Effusion", (1, 40, 13, 60)),
    )
    assert third.boxes == (Box("Diffuse Nodule", (3, 5, 33, 62)),)
    splits, _ = split_records(dataset, SplitRule("csv"))
    assert splits["test"] == [second, third]
    assert {*splits["train"], *splits["validation"]} == {first, other}


PADCHEST = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
    "ViewPosition_DICOM,Projection,MethodProjection,Pediatric,Modality_DICOM,"
    "Manufacturer_DICOM,PhotometricInterpretation_DICOM,PixelRepresentation_DICOM,"
    "PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,"
    "WindowCenter_DICOM,WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,"
    "XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS\n"
)


def test_padchest(place):
    ends = ["_k6ga29.png", "_1x.png", "_2x.png", "_3x.png", "_4x.png", "_5x.png"]
    # Patients are numbers that no 64 bits hold.
    ids = ["839860488694292331637988235681460987"] * 2
    ids += ["313572750430997347502932654319389875966", "27", "28", "29"]
    labels = [
        "['laminar atelectasis', ' pleural effusion', 'nodule']",
        "['normal']",
        "['', 'hydropneumothorax', 'unchanged']",
        "['unchanged', ' exclude']",
        "",
        '["vertebral degenerative changes", "chilaiditi\'s sign"]',
    ]
    views = ["PA", "L", "AP_horizontal", "PA", "AP", "AP"]
    text = PADCHEST
    for n, (end, patient, found, view) in enumerate(
        zip(ends, ids, labels, views, strict=True)
    ):
        quoted = f'"{found.replace(chr(34), chr(34) * 2)}"' if found else ""
        text += (
            f"{n},2053668{end},{n % 2},20140915,2053,{patient},"
            f"{'1936.0' if n else ''},F,POSTEROANTERIOR,{view},Manual review of DICOM "
            "fields,No,CR,ImagingDynamics,MONOCHROME2,0,,0.14,12,2048.0,4096.0,64,48,"
            f"10,5,,,,4765777,sin hallazgos patologicos .,Physician,{quoted},[],[],[],"
            "[]\n"
        )
        place(f"padchest/{n % 2}/2053668{end}", draw(dtype=np.uint16, value=0x80FF))
    place("padchest/PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", text)
    exec(find_code("PadChest"), {})
    names = (
        "Atelectasis", "Cardiomegaly", "Consolidation", "Effusion", "Mass", "Nodule",
        "Pneumonia", "Pneumothorax",
    )  # fmt: skip
    left_out = "3 image files without a label row, such as padchest/0/2053668_4x.png"
    dataset = read_and_prepare("padchest", names, (left_out,))
    first, second, third = dataset.records
    assert first.labels == (1, 0, 0, 1, 0, 1, 0, 0)
    assert second.labels == (0, 0, 0, 1, 0, 0, 0, 1)
    assert third.labels == (0,) * 8
    assert (first.patient, first.age, first.sex, first.view) == (
        ids[0],
        None,
        "F",
        "PA",
    )
    # 2014 - 1936 = 78
    assert (second.patient, second.age, second.view) == (ids[2], 78, "AP")
    # Of 0x80ff the upper eight bits.
    assert (read_grey(first.path) == 0x80).all()


def test_rsna_pneumonia(place):
    name = "rsna-pneumonia-detection-challenge"
    images = {
        "0004cfab-14fd-4e49-80ba-63a80b6bddd6": "00000001_000.png",
        "00436515-870c-4b36-a041-de91049b9ab4": "00000001_001.png",
        "00704310-78a8-4b38-8475-49f4573b2dbb": "00000002_000.png",
    }
    first, second, third = images
    place(
        f"{name}/stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\n"
        f"{first},,,,,0\n"
        f"{second},4.0,12.0,13.0,39.0,1\n"
        f"{second},22.0,12.0,20.5,43.0,1\n"
        f"{third},,,,,0\n",
    )
    mapping = [
        {
            "subset_img_id": image,
            "img_id": of_nih,
            "orig_labels": ["No Finding"],
            "SOPInstanceUID": "1.2.276.0.7230010.3.1.4",
        }
        for image, of_nih in images.items()
    ]
    place(f"{name}/pneumonia-challenge-dataset-mappings_2018.json", json.dumps(mapping))
    for image in images:
        place(f"{name}/stage_2_train_images/{image}.dcm", draw_dicom())
    exec(find_code("RSNA Pneumonia Detection Challenge"), {})
    dataset = read_and_prepare(name, ("Pneumonia",))
    assert [record.labels for record in dataset.records] == [(0,), (1,), (0,)]
    assert [r.patient for r in dataset.records] == ["00000001", "00000001", "00000002"]
    # xyxy is (x, y, x + width, y + height).
    assert dataset.records[1].boxes == (
        Box("Pneumonia", (4.0, 12.0, 17.0, 51.0)),
        Box("Pneumonia", (22.0, 12.0, 42.5, 55.0)),
    )


def test_the_recipe_for_tables_of_another_form(place):
    page = (ROOT / "docs" / "howto" / "your_own_xrays.md").read_text()
    (code,) = re.findall(r"```python\n(import pandas.*?)```", page, re.DOTALL)
    place(
        "hospital/export.csv",
        "file,person,findings\n1.png,Ann,Mass|Effusion\n2.png,Bob,No Finding\n",
    )
    for image in ("1.png", "2.png"):
        place(f"hospital/{image}", draw())
    exec(code, {})
    dataset = read_and_prepare("hospital", ("Effusion", "Mass"))
    assert [record.labels for record in dataset.records] == [(1, 1), (0, 0)]


def test_every_recipe_is_tested():
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [
        "CheXpert",
        "MIMIC-CXR-JPG",
        "VinDr-CXR",
        "ChestX-Det",
        "PadChest",
        "RSNA Pneumonia Detection Challenge",
    ]
