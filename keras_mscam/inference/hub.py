"""Folders that others published: on the Hugging Face Hub, or on Kaggle."""

import importlib
import os
import re
from pathlib import Path

from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum

CHECKSUMS = "SHA256SUMS"
# `Path` leaves one slash of two.
_REFERENCE = re.compile(r"(hf|kaggle):/{1,2}(.+)")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LIBRARIES = {"hf": "huggingface_hub", "kaggle": "kagglehub"}


def is_reference(path: str | os.PathLike) -> bool:
    """Whether it is `hf://owner/name[@revision]` or `kaggle://owner/model/keras/name`."""
    return _REFERENCE.fullmatch(os.fspath(path)) is not None


def fetch(path: str | os.PathLike) -> Path:
    """Return a local folder or file: a path as it is, a reference downloaded.

    Of a folder that was published by others, with weights of PyTorch, it is their file.
    The hub's own library downloads it, once, into its cache; it has the user's token,
    if one is needed. Only a reference, see `is_reference`, touches the network.

    Raises:
        UserError: the library is not installed, there is no such folder, it can't be
            downloaded, or a file of it has another checksum than its publisher's.
    """
    match = _REFERENCE.fullmatch(os.fspath(path))
    if match is None:
        return Path(path)
    hub, name = match.groups()
    reference = f"{hub}://{name}"
    try:
        library = importlib.import_module(_LIBRARIES[hub])
    except ImportError:
        raise UserError(
            f"{reference} needs {_LIBRARIES[hub]}: pip install 'keras_mscam[hub]'."
        ) from None
    try:
        if hub == "hf":
            repository, _, revision = name.partition("@")
            folder = library.snapshot_download(repository, revision=revision or None)
        else:
            folder = library.model_download(name)
    except Exception as error:  # each library has a dozen kinds of its own
        raise UserError(
            f"{reference} can't be downloaded ({type(error).__name__}): "
            f"{' '.join(str(error).split())}"
        ) from error
    folder = Path(folder)
    _verify(folder, reference)
    if not (folder / "model.keras").is_file():
        for name in _WEIGHTS:
            if (folder / name).is_file():
                return folder / name
    return folder


def _verify(folder: Path, reference: str) -> None:
    """Compare files with the checksums that `keras_mscam-weights publish` wrote."""
    sums = folder / CHECKSUMS
    if not sums.is_file():
        return  # of another publisher; its hub checks what it sends
    for line in sums.read_text(encoding="utf-8").splitlines():
        checksum, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or compute_checksum(path) != checksum:
            raise UserError(
                f"{reference}: {name} is missing, or not as its publisher left it; "
                f"remove {folder} to download it again."
            )
