"""Compressed data files: told by their first bytes, unpacked within a bound."""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from lifealign_bench.errors import BenchError

# Public preference data has at most a few GB; a small file can be made to unpack to anything.
MOST_BYTES = 16 << 30
_PIECE = 1 << 20
_KINDS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
}
_SUFFIXES = frozenset({"gz", "gzip", "zst", "zstd", "bz2", "xz"})
# What is no table of rows, by its first bytes, with what to do about it.
_OTHERS = {
    b"PK\x03\x04": ("a ZIP archive", "Unpack it, and name the file inside."),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "Unpack it, and name the file inside."),
    b"Rar!": ("a RAR archive", "Unpack it, and name the file inside."),
    b"PAR1": ("a Parquet file", "Name it .parquet, or put 'format: parquet' into the card's source."),
    b"ARROW1": ("an Arrow file", "Write it as Parquet or JSON Lines."),
    b"SQLite format 3": ("an SQLite database", "Write its table as Parquet or JSON Lines."),
    b"\x80\x04": ("a pickle", "Write it as Parquet or JSON Lines; a pickle can run code and is never read."),
    b"\x80\x05": ("a pickle", "Write it as Parquet or JSON Lines; a pickle can run code and is never read."),
    b"\x89HDF": ("an HDF5 file", "Write it as Parquet or JSON Lines."),
    b"%PDF": ("a PDF", "Name the data file."),
    b"version https://git-lfs": ("a pointer of Git LFS", "Fetch the file itself with `git lfs pull`."),
}


def bare_name(path: PurePath) -> PurePath:
    """The name without the suffix of a compression: ``rows.jsonl.gz`` is ``rows.jsonl``."""
    return path.with_suffix("") if path.suffix.lower().lstrip(".") in _SUFFIXES else path


def what_it_is(content: bytes) -> tuple[str, str] | None:
    """What a file of bytes is that is read as no table here, and what to do; None where that is not known."""
    if content[257:262] == b"ustar":
        return "a tar archive", "Unpack it, and name the file inside."
    return next((said for mark, said in _OTHERS.items() if content.startswith(mark)), None)


def unpack(content: bytes, place: str) -> bytes:
    """The bytes of a file that is compressed with gzip, zstd, bz2 or xz; those of any other file as they are.

    Args:
        content: the whole file.
        place: its name in messages.

    Raises:
        BenchError: damaged, cut off, or without end.
    """
    return content if compression(content) is None else b"".join(unpacked(content, place))


def unpacked(content: bytes, place: str) -> Iterator[bytes]:
    """What a compressed file holds, piece by piece; see :func:`unpack`."""
    kind, size = compression(content), 0
    assert kind is not None
    try:
        with _opened(content, kind) as stream:
            while piece := stream.read(_PIECE):
                size += len(piece)
                if size > MOST_BYTES:
                    raise BenchError(
                        f"The data file {place} unpacks to more than {MOST_BYTES >> 30} GiB.",
                        "Split it, or check that it is what you take it for.",
                    )
                yield piece
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise BenchError(
            f"The data file {place} is compressed ({kind}) and damaged or cut off: {' '.join(str(error).split())}.",
            "Fetch or write the file again.",
        ) from error


def compression(content: bytes) -> str | None:
    """How a file is compressed by its first bytes; None where it is not."""
    kind = next((kind for mark, kind in _KINDS.items() if content.startswith(mark)), None)
    # The first letters of bz2 could be those of a text.
    return None if kind == "bz2" and content[4:10] != b"1AY&SY" else kind


def _opened(content: bytes, kind: str) -> Any:
    if kind == "xz":
        return lzma.LZMAFile(io.BytesIO(content))
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.BufferReader(content), kind)
