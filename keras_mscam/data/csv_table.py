"""CSV tables, as spreadsheets, scripts and statistics programs leave them."""

import codecs
import csv
import gzip
import io
import os.path
import posixpath
import re
import unicodedata
import zlib
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from keras_mscam.errors import UserError
from keras_mscam.files import read_file

#: Of a table, also when it is unpacked: PadChest's, of 160,000 images, has half of it.
_MOST_BYTES = 2**28
#: Fields of a table; at 60 bytes and more each, they take 2 GB.
_MOST_FIELDS = 20_000_000
#: What else is given as a table, by its first bytes.
_NO_TEXT = {
    b"PK\3\4": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zst archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "a Parquet file",
}
_GZIP = b"\x1f\x8b"
#: What pandas and R write into a field of nothing.
_NOTHING = {"nan", "NaN", "NA", "<NA>"}
#: How pandas calls a column without a name, and the second of two of one name.
_UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?(\.\d+)?")
_NUMBERED = re.compile(r"\.\d+$")
#: Letters of no width that editors and web pages leave, and that join no others.
_INVISIBLE = re.compile("[\ufeff\u200b\u200e\u200f\u2060\u00ad]")
#: What Excel reads, and some programs write, in front of a table.
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t])"?[,;\t]*')
_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")


def find_table(directory: Path, pattern: str) -> Path | None:
    """Find the one file in a folder whose name a pattern matches, in any case.

    Raises:
        UserError: several are there, or the folder can't be read.
    """
    try:
        found = sorted(
            path
            for path in Path(directory).iterdir()
            if re.fullmatch(pattern, path.name, re.IGNORECASE)
        )
    except OSError as error:
        raise UserError(
            f"{directory} is not a folder that can be read: {error.strerror}."
        ) from error
    if len(found) > 1:
        raise UserError(
            f"{directory} has both {found[0].name} and {found[1].name}; keep the one "
            "to be read."
        )
    return found[0] if found else None


def read_table(
    path: Path, known: Collection[str] = (), required: Collection[str] = ()
) -> pd.DataFrame:
    """Read a table with a header; see `read_rows` and `name_columns`."""
    return name_columns(path, read_rows(path), known, required)


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Read the fields of a CSV file as text, each row with the line that it begins on.

    The separator is the one of comma, semicolon and tab that divides the first row
    into most fields, or what a line such as `sep=;` in front of it says. Where it isn't
    the comma, a comma in a number is its decimal point. Blanks around fields are
    dropped, and rows without any content. What pandas and R write for nothing, such as
    `nan` or `NA`, is nothing.

    Raises:
        UserError: the file can't be read, is no text (see `read_text`), or holds
            nothing.
    """
    text = read_text(Path(path))
    if max(map(text.count, ",;\t")) + text.count("\n") > _MOST_FIELDS:
        raise UserError(f"{path} has more than {_MOST_FIELDS:,} fields; split it.")
    first = next(filter(str.strip, _split_lines(text)), "")
    said = _SEPARATOR_LINE.fullmatch(first.strip(" \r\n"))
    rows, line = [], 1
    try:
        separator = said[1] if said else _find_separator(first)
        reader = csv.reader(
            _split_lines(text), delimiter=separator, skipinitialspace=True, strict=True
        )
        for fields in reader:
            fields = [_clean(field, separator) for field in fields]
            if any(fields):
                rows.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {line}: a quoted field isn't closed, goes on behind its "
            f"quotes, or is too long ({error})."
        ) from error
    if said:
        del rows[0]
    if not rows:
        raise UserError(f"{path} is empty.")
    return rows


def _find_separator(row: str) -> str:
    return max(",;\t", key=lambda s: len(next(csv.reader([row], delimiter=s))))


def name_columns(
    path: Path,
    rows: list[tuple[int, list[str]]],
    known: Collection[str] = (),
    required: Collection[str] = (),
) -> pd.DataFrame:
    """Make a table of rows, of which the first is the header.

    Names of columns are told apart without regard to case, blanks and underscores. A
    column without a name and without content is left out.

    Args:
        path: where the rows are from, for errors.
        rows: as of `read_rows`.
        known: names that columns may have, in the spelling of the result.
        required: those that must be there, with something in every row.

    Returns:
        The other rows, as text, under their names; the index is the line of each.

    Raises:
        UserError: two columns have one name, one has content and no name, or a required
            one is missing; a row has fewer fields than the header, more with something
            in them, or nothing in a required one.
    """
    (first, header), *rows = rows
    spelling = {name_key(name): name for name in known}
    names = [" ".join(_INVISIBLE.sub("", name).split()) for name in header]
    names = ["" if _UNNAMED.fullmatch(name) else name for name in names]
    names = [spelling.get(name_key(name), name) for name in names]
    _check_names(path, first, names)
    for name in required:
        if name not in names:
            there = ", ".join(filter(None, names))
            raise UserError(f"{path} has no column {name!r}, only {there}.")
    named = [place for place, name in enumerate(names) if name]
    width = max(named, default=-1) + 1
    nameless = [place for place in range(width) if not names[place]]
    for line, fields in rows:
        if len(fields) < width:
            raise UserError(
                f"{path}, line {line}: it ends after {len(fields)} of {width} fields; "
                "complete the line, or remove it."
            )
        for place in (*nameless, *range(width, len(fields))):
            if fields[place]:
                raise UserError(
                    f"{path}, line {line}, column {place + 1}: {fields[place]!r} "
                    "stands in a column without a name; name that column in the "
                    "header, or remove it (pandas leaves row numbers out with "
                    "to_csv(index=False))."
                )
    table = pd.DataFrame(
        [[fields[place] for place in named] for _, fields in rows],
        index=[line for line, _ in rows],
        columns=[names[place] for place in named],
        dtype=object,
    )
    for name in required:
        empty = table.index[table[name] == ""]
        if len(empty):
            raise UserError(f"{path}, line {empty[0]}: no {name}; complete it.")
    return table


def clean_name(name: str) -> str:
    """Return what is the same for a name with accents as letters and as marks."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFC", name))


def name_key(name: str) -> str:
    """Return what is the same for ` Pleural_Effusion` and `pleural  effusion`."""
    return " ".join(clean_name(name).casefold().replace("_", " ").split())


def path_key(path: str) -> str:
    """Return what is the same for two ways to write the path of an image.

    Backslashes are slashes, and upper case in the suffix doesn't count: `./a/1.PNG` is
    `a/1.png`. Nor does it count whether an accent is a letter of its own, as macOS
    writes it.
    """
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    stem, suffix = os.path.splitext(posixpath.normpath(path))
    return stem + suffix.lower()


def parse_numbers(table: pd.DataFrame, column: str, path: Path) -> list[float]:
    """Return the numbers of a column, NaN where nothing is.

    Raises:
        UserError: a field holds something else; the sentence has its line.
    """
    numbers = []
    for line, field in table[column].items():
        try:
            numbers.append(parse_number(field or "nan"))
        except ValueError as error:
            raise UserError(
                f"{path}, line {line}, column {column!r}: {field!r} is no number."
            ) from error
    return numbers


def parse_number(text: str) -> float:
    """Return a number, or raise a `ValueError`; `1_0` is none, but for Python."""
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


def _check_names(path: Path, line: int, names: list[str]) -> None:
    seen, numbered = {}, {}
    for place, name in enumerate(names, start=1):
        key = name_key(name)
        plain = _NUMBERED.sub("", key)
        same = seen.get(key) or seen.get(plain) or numbered.get(key)
        if name and same:
            raise UserError(
                f"{path}, line {line}, column {place}: the name {name!r} was there "
                f"before, as {same!r}; keep one of the columns."
            )
        seen[key] = name
        if plain != key:
            numbered[plain] = name


def read_text(path: Path) -> str:
    """Read text in UTF-8 or UTF-16, as it is or compressed by gzip.

    Raises:
        UserError: the file can't be read, or is no such text.
    """
    try:
        data = read_file(path, _MOST_BYTES)
        if data.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(_MOST_BYTES + 1)
            if len(data) > _MOST_BYTES:
                raise ValueError(f"unpacked, it is larger than {_MOST_BYTES:,} bytes")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} can't be read as a table: {reason}.") from error
    for start, kind in _NO_TEXT.items():
        if data.startswith(start):
            raise UserError(
                f"{path} is {kind}, no text; save the table as 'CSV UTF-8', or unpack "
                "it."
            )
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if is_utf16 else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(data[: error.start + 1].splitlines())
        raise UserError(
            f"{path}, line {line}: it can't be read as text in "
            f"{encoding.removesuffix('-sig').upper()}; save the table as 'CSV UTF-8'."
        ) from error
    if "\0" in text:
        raise UserError(f"{path} isn't text; save the table as 'CSV UTF-8'.")
    return text


def _split_lines(text: str) -> io.StringIO:
    """Give the lines of a text, which may end in any of three ways."""
    return io.StringIO(text, newline="")


def _clean(field: str, separator: str) -> str:
    field = field.strip()
    if field in _NOTHING:
        return ""
    return field if separator == "," else _DECIMAL_COMMA.sub(r"\1.\2", field)
