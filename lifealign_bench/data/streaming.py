"""A sound file of rows read piece by piece, so that its text is not held beside its rows.

What is odd about a file, :mod:`lifealign_bench.data.rows` says, which looks at it whole.
"""

from __future__ import annotations

import codecs
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lifealign_bench.data.packed import compression, unpacked
from lifealign_bench.data.rows import Format, Row, encoding_of
from lifealign_bench.errors import BenchError

# What hashlib's constructors give.
Hash = Any
_HEAD, _PIECE = 4096, 1 << 20  # bytes that say what a file is, and bytes at a time
_BLANK = " \t\n\r"


def stream_rows(path: Path, format: Format, digest: Callable[[int], Hash]) -> tuple[list[Row], str] | None:
    """The rows of a file, and the digest (hex) of the bytes that they were made of.

    Args:
        path: the file.
        format: how it is written.
        digest: from the file's size in bytes, the hash that its bytes go into.

    Returns:
        None where the file has to be looked at whole: Parquet, another encoding than UTF-8, anything broken.

    Raises:
        OSError: it cannot be read.
    """
    if format == "parquet":
        return None
    sha = digest(path.stat().st_size)
    with path.open("rb") as file:
        try:
            head, pieces = _beginning(_hashed(file, sha))
            if compression(head) is not None:
                head, pieces = _beginning(unpacked(b"".join(pieces), str(path)))
            if encoding_of(head) != "utf-8-sig":
                return None
            rows = _READERS[format](chain([head.removeprefix(codecs.BOM_UTF8)], islice(pieces, 1, None)))
        except (BenchError, ValueError, RecursionError, csv.Error):
            return None
    return (rows, sha.hexdigest()) if rows else None


def _beginning(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first piece, and all of them."""
    head = next(pieces, b"")
    return head, chain([head], pieces)


def _hashed(file: Any, sha: Hash) -> Iterator[bytes]:
    size = _HEAD
    while piece := file.read(size):
        sha.update(piece)
        yield piece
        size = _PIECE


def _json(pieces: Iterator[bytes]) -> list[Row]:
    head, pieces = _beginning(pieces)
    if head.lstrip().startswith(b"["):
        return _objects(pieces)
    rows = _lines(pieces)
    if len(rows) < 2:
        raise ValueError("one object is no list")
    return rows


def _jsonl(pieces: Iterator[bytes]) -> list[Row]:
    head, pieces = _beginning(pieces)
    return _objects(pieces) if head.lstrip().startswith(b"[") else _lines(pieces)


def _csv(pieces: Iterator[bytes]) -> list[Row]:
    limit = csv.field_size_limit(sys.maxsize)  # the default refuses a cell of more than 131072 characters
    try:
        # A line break inside quotes is one of csv's own; it is given lines with their ends.
        table = csv.reader((line.decode() for line in _with_ends(pieces)), strict=True)
        header = next(table, [])
        if len(set(header)) != len(header):
            raise ValueError("a column is named twice")
        return [dict(zip(header, cells, strict=True)) for cells in table if cells]
    finally:
        csv.field_size_limit(limit)


def _lines(pieces: Iterable[bytes]) -> list[Row]:
    """Objects, one a line.

    Raises:
        ValueError: a line is none.
    """
    rows: list[Row] = []
    for line in _with_ends(pieces):
        text = line.decode()
        if not text.strip():
            continue
        rows.append(_row(json.loads(text)))
    return rows


def _row(value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError("a row is an object")
    return {sys.intern(name): cell for name, cell in value.items()}  # the same few names in every row


def _with_ends(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their line feeds. Not splitlines(): it would also break lines at U+2028 and others that may stand
    inside a string."""
    begun: list[bytes] = []
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for end in ended:
            yield b"".join((*begun, end, b"\n"))
            begun = []
        begun.append(rest)
    yield b"".join(begun)


def _objects(pieces: Iterable[bytes]) -> list[Row]:
    """The objects of one JSON list.

    Raises:
        ValueError: it is none, or empty.
    """
    text, decoder = _Text(pieces), json.JSONDecoder()
    rows: list[Row] = []
    if text.take() != "[":
        raise ValueError("no list")
    after = ","
    while after == ",":
        if text.look() != "{":
            raise ValueError("no object")
        rows.append(_row(text.value(decoder)))
        after = text.take()
    if after != "]" or text.look():
        raise ValueError("no end of the list, or something after it")
    return rows


class _Text:
    """A text of which only a part is held: what is read is let go."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._held = ""
        self._at = 0

    def _more(self, characters: int) -> bool:
        """At least so many more characters, or all there are; whether there were any."""
        new: list[str] = []
        while sum(map(len, new)) < characters:
            piece = next(self._pieces, None)
            if piece is None:
                new.append(self._decoder.decode(b"", final=True))
                break
            new.append(self._decoder.decode(piece))
        self._held, self._at = self._held[self._at :] + "".join(new), 0
        return any(new)

    def look(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            while self._at < len(self._held) and self._held[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._held) or not self._more(1):
                return self._held[self._at : self._at + 1]

    def take(self) -> str:
        """The next character that is no white space; empty at the end."""
        found = self.look()
        self._at += len(found)
        return found

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The object that begins here.

        Raises:
            ValueError: there is none.
        """
        while True:
            try:
                value, self._at = decoder.raw_decode(self._held, self._at)
            except json.JSONDecodeError:
                # It may go on in what is not read yet: twice as much, so that a long one is not begun too often.
                if not self._more(len(self._held) - self._at):
                    raise
            else:
                return value


_READERS: dict[Format, Callable[[Iterator[bytes]], list[Row]]] = {"json": _json, "jsonl": _jsonl, "csv": _csv}
