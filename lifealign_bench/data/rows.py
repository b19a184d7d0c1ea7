"""The bytes of a data file as a list of rows, for each format; every damage is named with its place."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from lifealign_bench.errors import BenchError

__all__ = ["FORMATS", "Format", "Row", "parse_rows"]

Row = Mapping[str, Any]
Format = Literal["json", "jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

_AGAIN = "Fetch or write the file again."


def parse_rows(content: bytes, format: Format, place: str) -> list[Row]:
    """The rows of a file in their order.

    Args:
        content: the whole file.
        format: how it is written.
        place: the file's name in messages.

    Raises:
        BenchError: empty, truncated, not UTF-8, not a table of this format; names line or byte.
    """
    if not content.strip():
        raise BenchError(f"The data file {place} is empty.", _AGAIN)
    rows = _PARSERS[format](content, place)
    if not rows:
        raise BenchError(f"The data file {place} holds no rows.", _AGAIN)
    return rows


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchError(
            f"The data file {place} is not UTF-8: byte {error.start} (line {line}) cannot be decoded.",
            "Convert it, e.g. with `iconv -f LATIN1 -t UTF-8`.",
        ) from error


def _json(content: bytes, place: str) -> list[Row]:
    text = _text(content, place)
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


def _jsonl(content: bytes, place: str) -> list[Row]:
    rows: list[Row] = []
    # Not splitlines(): it would also break lines at U+2028 and others that may stand inside a JSON string.
    for number, line in enumerate(_text(content, place).split("\n"), start=1):
        if not line.strip():
            continue
        row = _decode(line, place, number)
        if not isinstance(row, dict):
            raise BenchError(
                f"Line {number} of {place} is not an object but {_kind(row)}.", "Every line of a JSONL file is a {...}."
            )
        rows.append(row)
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
        rows: list[Row] = pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise BenchError(f"The data file {place} is not a whole Parquet file: {why}.", _AGAIN) from error
    return rows


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


_PARSERS: dict[Format, Callable[[bytes, str], list[Row]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
