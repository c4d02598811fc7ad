"""What scikit-image, scikit-learn, SciPy and pycocotools make of the same inputs.

Runs in the environment of `reference.py` and knows nothing of this package either.
"""

import sys
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.stats import mannwhitneyu
from skimage.measure import label, regionprops
from sklearn.metrics import f1_score, multilabel_confusion_matrix, roc_curve


def main(folder: Path) -> None:
    ours = np.load(folder / "ours.npz")
    thresholds, truths, predicted = (
        ours["thresholds"],
        ours["truths"],
        ours["predicted"],
    )
    labels, calls = ours["labels"].astype(int), ours["chosen calls"].astype(int)
    test = zip(labels.T, ours["probabilities"].T, strict=True)
    validation = ours["validation labels"].T, ours["validation probabilities"].T
    js = [compute_j(*column) for column in zip(*validation, strict=True)]
    coco_boxes = [to_xywh(table[:, 2:6]) for table in (predicted, truths)]
    ious = coco_mask.iou(*coco_boxes, [0] * len(truths))
    results = {
        "scikit-image|boxes of maps": find_boxes(ours["heatmaps"], thresholds),
        "scikit-image|boxes of noise": find_boxes(ours["noise"], thresholds),
        "scikit-learn|confusion at chosen": multilabel_confusion_matrix(labels, calls),
        "scikit-learn|F1 at chosen": f1_score(
            labels, calls, average=None, zero_division=np.nan
        ),
        "scikit-learn|largest J on validation": js,
        "SciPy (Mann-Whitney U)|AUROC": [compute_auroc(*column) for column in test],
        "pycocotools|IoU": ious,
        "pycocotools|average precision at IoU 0.3": average_precision(
            truths, predicted, labels.shape[1]
        ),
    }
    np.savez(folder / "other_references.npz", **results)


def find_boxes(heatmaps, thresholds) -> np.ndarray:
    rows, masks = (
        [],
        (heatmap > threshold for heatmap in heatmaps for threshold in thresholds),
    )
    for number, mask in enumerate(masks):
        for region in regionprops(label(mask, connectivity=2)):
            top, left, bottom, right = region.bbox
            rows.append([number, left, top, right, bottom])
    return np.array(rows)


def compute_auroc(truth, values) -> float:
    shows, lacks = values[truth == 1], values[truth == 0]
    if not len(shows) or not len(lacks):
        return np.nan
    return mannwhitneyu(shows, lacks).statistic / (len(shows) * len(lacks))


def compute_j(truth, values) -> float:
    if len(np.unique(truth)) < 2:
        return np.nan
    false, true, _ = roc_curve(truth, values)
    return (true - false).max()


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def average_precision(truths, predicted, classes: int) -> np.ndarray:
    """Average precision of each pathology; every item is an image of its own."""
    truth, tables = COCO(), []
    for table in (truths, predicted):
        boxes = to_xywh(table[:, 2:6])
        tables.append(
            [{"id": number + 1, "image_id": int(row[0]), "category_id": int(row[1]),
              "bbox": box.tolist(), "area": box[2] * box[3], "iscrowd": 0,
              "score": row[-1]}
             for number, (row, box) in enumerate(zip(table, boxes, strict=True))]
        )  # fmt: skip
    items = {row["image_id"] for rows in tables for row in rows}
    truth.dataset = {
        "info": {},
        "images": [{"id": item} for item in items],
        "categories": [{"id": column} for column in range(classes)],
        "annotations": tables[0],
    }
    truth.createIndex()
    evaluator = COCOeval(truth, truth.loadRes(tables[1]), "bbox")
    evaluator.params.iouThrs, evaluator.params.maxDets = np.array([0.3]), [100_000]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e12]], ["all"]
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator.eval["precision"][0, :, :, 0, 0].mean(axis=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
