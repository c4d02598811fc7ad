"""The fourteen pathologies of ChestX-ray14, in one order, under one spelling."""

from keras_mscam.errors import UserError

#: The order of every column, map channel and table row (Wang et al. 2017, Table 1,
#: then the six that ChestX-ray14 added to ChestX-ray8).
PATHOLOGIES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule",
    "Pneumonia", "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis",
    "Pleural_Thickening", "Hernia",
)  # fmt: skip
#: Those that have ground-truth boxes in `BBox_List_2017.csv`.
BOXED_PATHOLOGIES = PATHOLOGIES[:8]
#: What the label files write where an image shows none of them.
NO_FINDING = "No Finding"
_ALIASES = {"Infiltrate": "Infiltration", "Pleural Thickening": "Pleural_Thickening"}


def canonical_name(name: str) -> str:
    """Return the one spelling, in `PATHOLOGIES`, of a name in ChestX-ray14's files.

    `Infiltrate` (the box file) and `Pleural Thickening` are known too; outer blanks are
    ignored. Any other name is a `UserError`.
    """
    stripped = name.strip()
    canonical = _ALIASES.get(stripped, stripped)
    if canonical not in PATHOLOGIES:
        raise UserError(
            f"Unknown pathology {name!r}; the known ones are {', '.join(PATHOLOGIES)}."
        )
    return canonical
