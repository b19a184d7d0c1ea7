"""The bytes of a data file as a list of rows, for each format; every damage is named with its place."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from lifealign_bench.data.packed import unpack, what_it_is
from lifealign_bench.errors import BenchError

Row = Mapping[str, Any]
Format = Literal["json", "jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

_TWO_OBJECTS = re.compile(r"\s*(\{[^\n]*)\n\s*\{")
_LIST_BEGINS = re.compile(rb"(\xef\xbb\xbf)?\s*\[")
_LIST_ENDS = re.compile(rb"\]\s*\Z")
_BATCH = 4096  # rows of a Parquet file at a time
_AGAIN = "Fetch or write the file again."


class Unreadable:
    """The value of a cell that Python cannot hold, such as a date after the year 9999."""

    def __repr__(self) -> str:
        return "a value that cannot be read"


UNREADABLE = Unreadable()


def parse_rows(content: bytes, format: Format, place: str) -> list[Row]:
    """The rows of a file in their order.

    A compressed file is unpacked. A file of JSON is read as what it is, a list or one object a line, whatever its name
    says of the two. A cell that Python cannot hold is :data:`UNREADABLE`: its column may be one that nobody asks for.

    Args:
        content: the whole file.
        format: how it is written.
        place: the file's name in messages.

    Raises:
        BenchError: empty, truncated, no text, not a table of this format; names line or byte.
    """
    content = unpack(content, place)
    if not content or content.isspace():
        raise BenchError(f"The data file {place} is empty.", _AGAIN)
    rows = _PARSERS[format](content, place)
    if not rows:
        raise BenchError(f"The data file {place} holds no rows.", _AGAIN)
    return rows


def _text(content: bytes, place: str) -> str:
    encoding = encoding_of(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        known = what_it_is(content)
        if known is not None:
            raise BenchError(f"The data file {place} is {known[0]}.", known[1]) from error
        if encoding != "utf-8-sig" or any(byte < 9 or 13 < byte < 27 for byte in content[:4096]):
            raise BenchError(f"The data file {place} is no text, or a damaged one.", _AGAIN) from error
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchError(
            f"The data file {place} is not UTF-8: byte {error.start} (line {line}) cannot be decoded.",
            "Convert it, e.g. with `iconv -f LATIN1 -t UTF-8`.",
        ) from error


def encoding_of(content: bytes) -> str:
    """UTF-8, or the encoding that a byte order mark or the zeros beside the first two letters tell of."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = tuple(byte == 0 for byte in content[:4])
    found: dict[tuple[bool, ...], str] = {
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
    }
    return found.get(zeros, "utf-8-sig")


def _json(content: bytes, place: str) -> list[Row]:
    text = _text(content, place)
    if _is_lines(text):
        return _lines(text.encode("utf-8", "surrogatepass"), place)
    data = _decode(text, place, 1)
    if not isinstance(data, list):
        raise BenchError(
            f"The data file {place} is not a JSON list of objects but {_kind(data)}.",
            "Write it as [{...}, {...}], or name it .jsonl if it has one object a line.",
        )
    for number, row in enumerate(data):
        if not isinstance(row, dict):
            raise BenchError(f"Row {number} of {place} is not an object but {_kind(row)}.", "Every row is a {...}.")
    return data


def _is_lines(text: str) -> bool:
    """Whether the first line is a whole object and more of them follow: JSON Lines in a file named .json."""
    found = _TWO_OBJECTS.match(text)
    if found is None:
        return False
    try:
        return isinstance(json.loads(found[1]), dict)
    except (ValueError, RecursionError):
        return False


def _jsonl(content: bytes, place: str) -> list[Row]:
    # A list of objects in a file named .jsonl; a row of JSON Lines is an object.
    if _LIST_BEGINS.match(content) and _LIST_ENDS.search(content, max(0, len(content) - 64)):
        return _json(content, place)
    if encoding_of(content) != "utf-8-sig":
        content = _text(content, place).encode("utf-8", "surrogatepass")
    return _lines(content, place)


def _lines(content: bytes, place: str) -> list[Row]:
    """The objects of JSON Lines in UTF-8. One line after the other, since a large file is not to be held four times."""
    rows: list[Row] = []
    start, number = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0, 0
    while start < len(content):
        # Not splitlines(): it would also break lines at U+2028 and others that may stand inside a JSON string.
        end = content.find(b"\n", start)
        end = end if end >= 0 else len(content)
        piece, start, number = content[start:end], end + 1, number + 1
        try:
            line = piece.decode("utf-8")
        except UnicodeDecodeError:
            _text(content, place)  # names byte and line
            raise
        if not line.strip():
            continue
        try:
            row = _decode(line, place, number)
        except BenchError:
            _text(content, place)  # what is no text at all is not broken JSON
            raise
        if not isinstance(row, dict):
            raise BenchError(
                f"Line {number} of {place} is not an object but {_kind(row)}.", "Every line of a JSONL file is a {...}."
            )
        rows.append({sys.intern(name): value for name, value in row.items()})  # the same few names in every row
    return rows


def _decode(text: str, place: str, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        cut = error.msg.startswith("Unterminated") or not text[error.pos :].strip()
        what = "is truncated: it ends in the middle of" if cut else "is broken in"
        byte = len(text[: error.pos].encode("utf-8", "surrogatepass"))
        where = f"line {line}" if first_line > 1 else f"line {line}, byte {byte}"
        raise BenchError(f"The data file {place} {what} its JSON ({where}: {error.msg}).", _AGAIN) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested without end
        raise BenchError(
            f"The data file {place} (from line {first_line}) is not usable JSON: {error}.", _AGAIN
        ) from error


def _csv(content: bytes, place: str) -> list[Row]:
    table = csv.reader(io.StringIO(_text(content, place), newline=""), strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # the default refuses a cell of more than 131072 characters
    rows: list[Row] = []
    try:
        header = next(table, [])
        if len(set(header)) != len(header):
            raise BenchError(
                f"The header of {place} names a column twice.", "The first line of a CSV file names its columns."
            )
        for cells in table:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BenchError(
                    f"Line {table.line_num} of {place} ends a row of {len(cells)} cells; the header has {len(header)}.",
                    'Put text with commas, quotes or line breaks in double quotes ("" for a quote).',
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise BenchError(f"The data file {place} is broken at line {table.line_num}: {error}.", _AGAIN) from error
    finally:
        csv.field_size_limit(limit)
    return rows


def _parquet(content: bytes, place: str) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        # Piece by piece, since the whole table is as large as its rows.
        pieces = [table_rows(pyarrow.Table.from_batches([batch])) for batch in file.iter_batches(_BATCH)]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise BenchError(f"The data file {place} is not a whole Parquet file: {why}.", _AGAIN) from error
    names = file.schema_arrow.names
    if len(set(names)) != len(names):
        raise BenchError(f"The data file {place} names a column twice.", "Give every column a name of its own.")
    return [row for piece in pieces for row in piece]


def table_rows(table: Any) -> list[Row]:
    """The rows of an arrow table; a value that Python cannot hold is :data:`UNREADABLE`."""
    columns = [_values(column) for column in table.columns]
    return [dict(zip(table.column_names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    import pyarrow

    # Dates beyond Python's years, zones that this machine does not know, text that is not UTF-8.
    failures = (pyarrow.ArrowException, ValueError, OverflowError, LookupError, TypeError, ImportError)
    try:
        values: list[Any] = column.to_pylist()
        return values
    except failures:
        values = []
    for cell in column:
        try:
            values.append(cell.as_py())
        except failures:
            values.append(UNREADABLE)
    return values


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


_PARSERS: dict[Format, Callable[[bytes, str], list[Row]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
