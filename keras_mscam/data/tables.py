"""CSV files of any origin, read as text."""

import zlib
from pathlib import Path

import pandas as pd

from keras_mscam.errors import UserError


def read_table(path: Path, **options) -> pd.DataFrame:
    """Read all fields of a CSV file as text, empty where nothing is in them.

    Args:
        path: the file, UTF-8 with or without byte-order mark, plain or `.gz`.
        options: further arguments of `pandas.read_csv`.

    Raises:
        UserError: the file can't be read, or isn't a table.
    """
    try:
        return pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options
        )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        # Errors of pandas' parser and of decoding text are ValueErrors.
        raise UserError(f"{path} can't be read as a CSV table: {error}") from error
