"""What a model says of an X-ray, as DICOM: a Structured Report and Secondary Captures.

Needs the extra `dicom`. Nothing here is imported before `write_results` is asked for.
"""

from keras_mscam.errors import UserError

__all__ = ["write_results"]


def __getattr__(name: str):
    if name != "write_results":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from keras_mscam.dicom_results.write import write_results
    except ModuleNotFoundError as error:
        if error.name != "highdicom":
            raise
        raise UserError(
            "Results as DICOM need highdicom: pip install 'keras_mscam[dicom]'."
        ) from None
    return write_results
