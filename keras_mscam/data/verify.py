"""Whether prepared records are still what their manifest says."""

from pathlib import Path

from tqdm import tqdm

from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import UserError
from keras_mscam.files import compute_checksum


def verify(directory: Path, progress: bool = True) -> Manifest:
    """Compare every file of prepared records with the manifest.

    Args:
        directory: prepared records.
        progress: whether to show a bar.

    Returns:
        The manifest, if all is well.

    Raises:
        UserError: the manifest can't be read, or files are missing or changed; the
            sentence says how many and names the first three.
    """
    directory = Path(directory)
    manifest = Manifest.read(directory)
    named = {name for split in manifest.splits.values() for name in split.shards}
    wrong = [
        f"{name} has no checksum"
        for name in sorted(named)
        if name not in manifest.checksums
    ]
    files = tqdm(
        manifest.checksums.items(), desc="Verifying", unit="file", disable=not progress
    )
    for name, checksum in files:
        try:
            if compute_checksum(directory / name) != checksum:
                wrong.append(f"{name} has changed")
        except OSError as error:
            wrong.append(f"{name} can't be read ({error.strerror})")
    if wrong:
        raise UserError(
            f"{directory} isn't what its manifest says: {len(wrong)} of "
            f"{len(manifest.checksums)} files differ: {', '.join(wrong[:3])}. "
            "Prepare the records again."
        )
    return manifest
