"""Which coded concepts stand for what a model says.

What the dictionary of DICOM (PS3.16, as pydicom carries it) holds is taken from there.
Its entry "Cardiomegaly" is not: code and context (CID 12248) are those of a septal
foramen. The other SNOMED CT codes are of concepts that the DICOM context groups don't
list; SNOMED CT calls each a disorder. ChestX-ray14's "Hernia" are hernias of the
diaphragm. No code of pleural thickening could be confirmed, so it has a private one, as
every pathology of another data set has.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

#: Private coding schemes begin with 99.
SCHEME = "99KMSCAM"
#: DICOM's own concepts first: radiographic appearances (CID 6102), then disorders.
PATHOLOGY_CODES = {
    "Infiltration": codes.DCM.Infiltrate,
    "Mass": codes.SCT.Mass,
    "Nodule": codes.SCT.Nodule,
    "Pneumothorax": codes.SCT.Pneumothorax,
    "Effusion": codes.SCT.PleuralEffusion,
    "Edema": codes.SCT.PulmonaryEdema,
    "Atelectasis": Code("46621007", "SCT", "Atelectasis"),
    "Cardiomegaly": Code("8186001", "SCT", "Cardiomegaly"),
    "Consolidation": Code("95436008", "SCT", "Lung consolidation"),
    "Emphysema": Code("87433001", "SCT", "Pulmonary emphysema"),
    "Fibrosis": Code("51615001", "SCT", "Pulmonary fibrosis"),
    "Hernia": Code("39839004", "SCT", "Diaphragmatic hernia"),
    "Pneumonia": Code("233604007", "SCT", "Pneumonia"),
}
#: Of a pathology: calibrated, in percent.
PROBABILITY = codes.DCM.Probability
#: From which probability on a pathology is called positive, in percent.
THRESHOLD = codes.DCM.ThresholdValue
#: Of a box: probability of the pathology times the mean heat in it, in percent.
SCORE = Code("score", SCHEME, "Box score")
#: Which side of its threshold a probability is on; no statement on the patient.
RESULT = Code("result", SCHEME, "Result at threshold")
POSITIVE, NEGATIVE = codes.SCT.Positive, codes.SCT.Negative
#: Of a pathology that is never called, as no threshold is better than chance.
INDETERMINATE = codes.SCT.Indeterminate
#: The part of the image that the network saw.
FIELD = Code("field", SCHEME, "Part of the image that was looked at")


def code_pathology(name: str) -> CodedConcept:
    """Return the concept of a pathology; a private one where none is known.

    Example:
        >>> code_pathology("Lung Opacity").scheme_designator
        '99KMSCAM'
    """
    known = PATHOLOGY_CODES.get(name)
    if known is not None:
        return CodedConcept(known.value, known.scheme_designator, known.meaning)
    text = to_ascii(name)
    return CodedConcept(text[:64], SCHEME, text[:64].replace("_", " "))


def describe_scheme() -> CodingSchemeIdentificationItem:
    """Return what a reader should know of the private scheme."""
    return CodingSchemeIdentificationItem(SCHEME, name="keras_mscam")


def to_ascii(text: str) -> str:
    """Spell a text so that every character set of DICOM has it.

    The set is the source's, since names of people must stay as they are, and it may not
    hold what a model is called. A backslash separates values in DICOM.

    Example:
        >>> to_ascii("Erguß")
        'Ergu&#223;'
    """
    text = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/"))
    return text.encode("ascii", "xmlcharrefreplace").decode()
